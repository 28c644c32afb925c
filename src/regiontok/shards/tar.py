"""Images of one WebDataset tar, read at random by an index of offsets that is built once and kept.

After: WebDataset's tar layout (files of one sample share a name up to the first dot).
Differs: only the images count, in the order of the tar; compressed tars have no random access and
are refused; a tar without its end-of-archive block is named as cut off, tarfile takes one that ends
between two files for whole.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regiontok.core.formats import is_image_name
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing, replacing_shared

FORMAT = "regiontok tar index 2"


class ShardError(RegiontokError, ValueError):
    """A shard that is missing, cut off, damaged, or not what its side-car says.

    The message names it.
    """


@dataclass(frozen=True, eq=False)
class TarIndex:
    """The places of the images in a tar.

    Attributes:
        path: the tar.
        names: names of its images, with folders and suffix, in the order of the tar.
        spans: `[images 2]` int64, first byte and number of bytes.
    """

    path: Path
    names: tuple[str, ...]
    spans: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The name of an image's sample, see `sample_key`."""
        return sample_key(self.names[index])

    def read(self, index: int) -> bytes:
        """The bytes of one image.

        Raises:
            ShardError: If the tar cannot be read, ends before the image does, or was changed since
                the index was made.
        """
        start, length = self.spans[index].tolist()
        try:
            with open(self.path, "rb", buffering=0) as file:
                header = os.pread(file.fileno(), tarfile.BLOCKSIZE, start - tarfile.BLOCKSIZE)
                data = os.pread(file.fileno(), length, start)
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be read ({error.strerror})") from error
        if len(data) < length:
            raise ShardError(
                f"{self.path}: cut off: image {index} has {len(data)} of {length} bytes"
            )
        if not _is_header_of(header, length):
            raise ShardError(
                f"{self.path}: changed since it was indexed: image {index} ({self.names[index]}) "
                "no longer stands where it did"
            )
        return data


def sample_key(name: str) -> str:
    """The name of a sample from a file's name.

    It ends at the first dot behind the last slash, as WebDataset cuts it.

    >>> sample_key("00001/000010042.seg.png")
    '00001/000010042'
    """
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + file_name.split(".", 1)[0]


def open_index(tar: Path, folder: Path) -> TarIndex:
    """The index of a tar: the one kept in a folder, unless the tar was changed since, or a new one.

    A tar is taken for unchanged if its length and the time it was written are. A new index is kept
    in the folder, if that can be written.

    Raises:
        ShardError: If the tar does not exist, is cut off, is compressed, or is no tar.
    """
    size, time = tar_bytes(tar), tar.stat().st_mtime_ns
    path = folder / f"{tar.name}.index.json"
    try:
        stored = json.loads(path.read_bytes())
        if (stored["format"], stored["bytes"], stored["time"]) == (FORMAT, size, time):
            return _index(tar, stored["names"], stored["spans"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass  # there is none, or it is another tar's, or damaged: it is built anew
    names, spans = _scan(tar, size)
    stated = {"format": FORMAT, "bytes": size, "time": time, "names": names, "spans": spans}
    text = json.dumps(stated)
    try:
        with replacing_shared(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        pass  # the folder cannot be written: each process builds its own index
    return _index(tar, names, spans)


def tar_bytes(tar: Path) -> int:
    """Number of bytes of a tar.

    Raises:
        ShardError: If the tar does not exist.
    """
    try:
        return tar.stat().st_size
    except OSError as error:
        raise ShardError(f"{tar}: the shard is missing ({error.strerror})") from error


def _is_header_of(header: bytes, length: int) -> bool:
    """True if a block of a tar is the header of a file of that length."""
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size == length
    except tarfile.HeaderError:
        return False


def _index(tar: Path, names: list[str], spans: list[list[int]]) -> TarIndex:
    return TarIndex(tar, tuple(names), np.array(spans, np.int64).reshape(-1, 2))


def _scan(tar: Path, size: int) -> tuple[list[str], list[list[int]]]:
    names, spans, end = [], [], 0
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isfile() and is_image_name(member.name):
                    names.append(member.name)
                    spans.append([member.offset_data, member.size])
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
        with open(tar, "rb") as file:
            file.seek(end)
            closing = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(f"{tar}: cut off, or not an uncompressed tar ({error})") from error
    if len(closing) < tarfile.BLOCKSIZE or any(closing):
        raise ShardError(
            f"{tar}: cut off: {size} bytes, and no end of the archive after its last file"
        )
    return names, spans


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar of (name, bytes), whole or not at all; the same files give the same bytes."""
    with (
        replacing(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

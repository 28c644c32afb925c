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

from regiontok.core.picture import SUFFIXES
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing, replacing_shared

FORMAT = "regiontok tar index 1"


class ShardError(RegiontokError, ValueError):
    """A shard that is missing, cut off, damaged, or not what its side-car says; the message names
    it."""


@dataclass(frozen=True, eq=False)
class TarIndex:
    """Where the images of a tar lie.

    Attributes:
        path: the tar.
        names: of its images, with folders and suffix, in the order of the tar.
        spans: `[images 2]` int64, first byte and number of bytes.
    """

    path: Path
    names: tuple[str, ...]
    spans: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The sample's name: the file's without its suffix, as WebDataset cuts it (at the first dot
        behind the last slash)."""
        return sample_key(self.names[index])

    def read(self, index: int) -> bytes:
        """The bytes of one image.

        Raises:
            ShardError: the file is gone, or ends before the image does.
        """
        start, length = self.spans[index].tolist()
        try:
            with open(self.path, "rb", buffering=0) as file:
                found = os.pread(file.fileno(), length, start)
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be read ({error.strerror})") from error
        if len(found) < length:
            raise ShardError(
                f"{self.path}: cut off: image {index} has {len(found)} of {length} bytes"
            )
        return found


def sample_key(name: str) -> str:
    """A sample's name from a file's.

    >>> sample_key("00001/000010042.seg.png")
    '00001/000010042'
    """
    folder, slash, own = name.rpartition("/")
    return folder + slash + own.split(".", 1)[0]


def index_of(tar: Path, folder: Path) -> TarIndex:
    """The index kept in `folder` for a tar of this length, or a new one, which is kept there if the
    folder can be written.

    Raises:
        ShardError: no such tar, cut off, compressed, or not a tar.
    """
    size = size_of(tar)
    path = folder / f"{tar.name}.index.json"
    try:
        kept = json.loads(path.read_bytes())
        if kept["format"] == FORMAT and kept["bytes"] == size:
            return TarIndex(
                tar, tuple(kept["names"]), np.array(kept["spans"], np.int64).reshape(-1, 2)
            )
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or of another tar, or damaged: built anew
    names, spans = _scan(tar, size)
    try:
        with replacing_shared(path) as part:
            part.write_text(
                json.dumps({"format": FORMAT, "bytes": size, "names": names, "spans": spans}),
                encoding="utf-8",
            )
    except OSError:
        pass  # a folder that cannot be written: each process builds its own
    return TarIndex(tar, tuple(names), np.array(spans, np.int64).reshape(-1, 2))


def size_of(tar: Path) -> int:
    """Bytes of a tar; raises ShardError where there is none."""
    try:
        return tar.stat().st_size
    except OSError as error:
        raise ShardError(f"{tar}: the shard is missing ({error.strerror})") from error


def _scan(tar: Path, size: int) -> tuple[list[str], list[list[int]]]:
    names, spans, end = [], [], 0
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
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
    """A tar of (name, bytes), there whole or not at all; the same files give the same bytes."""
    with replacing(path) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

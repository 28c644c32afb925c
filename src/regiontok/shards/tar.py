"""Images of one WebDataset tar, read at random by their offsets.

Side-cars hold the offsets; a tar whose side-car has none is indexed once, and its index is kept.

After: WebDataset's tar layout (files of one sample share a name up to the first dot).
Differs: only images count, in the order of the tar, and the JSON file of an image's sample;
compressed tars have no random access and are refused; a tar without its end-of-archive block is
named as cut off, tarfile takes one that ends between two files for whole.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regiontok.core.formats import is_image_name
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing, replacing_shared
from regiontok.system.storage import (
    Location,
    child,
    file_bytes,
    file_name,
    opened,
    read_file,
    read_parts,
)

FORMAT = "regiontok tar index 3"
INDEX_SUFFIX = ".index.json"
ANNOTATION = ".json"  # suffix of the file that a tar has beside an image (SA-1B, img2dataset)
HEADER = tarfile.BLOCKSIZE  # bytes in front of a file's own, which name it
NAME = 100  # bytes of a name that a header has room for


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
        annotations: the same of the JSON file of an image's sample; zeros where there is none.
    """

    path: Location
    names: tuple[str, ...]
    spans: np.ndarray
    annotations: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The name of an image's sample, see `sample_key`."""
        return sample_key(self.names[index])

    def name(self, index: int) -> str:
        """The name of an image's file, with folders and suffix."""
        return self.names[index]

    def read(self, index: int) -> bytes:
        """The bytes of one image.

        Raises:
            ShardError: If the tar cannot be read, ends before the image does, or was changed since
                the index was made.
        """
        return self._read(index, self.spans)

    def annotation(self, index: int) -> bytes | None:
        """The bytes of the JSON file of an image's sample; None where the tar has none.

        Raises:
            ShardError: As `read` does.
        """
        return self._read(index, self.annotations) if self.annotations[index, 0] else None

    def _read(self, index: int, spans: np.ndarray) -> bytes:
        start, length = spans[index].tolist()
        (data,) = read_images(self.path, [TarImage(index, self.key(index), start, length)])
        return data


@dataclass(frozen=True)
class TarImage:
    """The place of one image in a tar.

    Attributes:
        index: its number among the images of the tar.
        key: the name of its sample.
        start: its first byte.
        length: number of its bytes.
    """

    index: int
    key: str
    start: int
    length: int


def read_images(tar: Location, images: Sequence[TarImage]) -> list[bytes]:
    """The bytes of some images of a tar, which must be those that stand there.

    Raises:
        ShardError: If the tar cannot be read, ends before an image does, or has another file in an
            image's place.
    """
    spans = [(image.start - HEADER, image.length + HEADER) for image in images]
    try:
        blocks = read_parts(tar, spans)
    except OSError as error:
        raise ShardError(f"{tar}: cannot be read ({error.strerror or error})") from error
    return [_checked(tar, image, block) for image, block in zip(images, blocks, strict=True)]


def _checked(tar: Location, image: TarImage, block: bytes) -> bytes:
    data = block[HEADER:]
    if len(data) < image.length:
        raise ShardError(
            f"{tar}: cut off: image {image.index} has {len(data)} of {image.length} bytes"
        )
    if not _is_header_of(block[:HEADER], image.length):
        raise ShardError(
            f"{tar}: changed since it was indexed: image {image.index} ({image.key}) no longer "
            "stands where it did"
        )
    name = _name_in(block[:HEADER])
    if name is not None and sample_key(name) != image.key:
        raise ShardError(
            f"{tar}: another tar: image {image.index} is {image.key!r} in the side-car, "
            f"the tar has {sample_key(name)!r}"
        )
    return data


def _name_in(header: bytes) -> str | None:
    """The name in a file's header; None where it stands in another header, being long or special"""
    name = header[:NAME].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    whole = prefix + b"/" + name if prefix else name
    if len(name) == NAME or not whole.isascii() or b"?" in whole:
        return None
    return whole.decode("ascii")


def sample_key(name: str) -> str:
    """The name of a sample from a file's name.

    It ends at the first dot behind the last slash, as WebDataset cuts it.

    >>> sample_key("00001/000010042.seg.png")
    '00001/000010042'
    """
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + file_name.split(".", 1)[0]


def open_index(tar: Location, folder: Location) -> TarIndex:
    """The index of a tar: the one kept in a folder, unless the tar was changed since, or a new one.

    A tar is taken for unchanged if its length is, and on disk the time it was written. A new index
    is kept in the folder, if that is on disk and can be written.

    Raises:
        ShardError: If the tar does not exist, is cut off, is compressed, or is no tar.
    """
    size = tar_bytes(tar)
    time = tar.stat().st_mtime_ns if isinstance(tar, Path) else 0
    path = child(folder, f"{file_name(tar)}{INDEX_SUFFIX}")
    try:
        stored = json.loads(read_file(path))
        if (stored["format"], stored["bytes"], stored["time"]) == (FORMAT, size, time):
            return _index(tar, stored["names"], stored["spans"], stored["annotations"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass  # there is none, or it is another tar's, or damaged: it is built anew
    index = scan_tar(tar)
    stated = {
        "format": FORMAT,
        "bytes": size,
        "time": time,
        "names": index.names,
        "spans": index.spans.tolist(),
        "annotations": index.annotations.tolist() if index.annotations.any() else [],
    }
    if isinstance(path, Path):
        try:
            with replacing_shared(path) as temporary:
                temporary.write_text(json.dumps(stated), encoding="utf-8")
        except OSError:
            pass  # the folder cannot be written: each process builds its own index
    return index


def tar_bytes(tar: Location) -> int:
    """Number of bytes of a tar.

    Raises:
        ShardError: If the tar does not exist.
    """
    try:
        return file_bytes(tar)
    except OSError as error:
        raise ShardError(f"{tar}: the shard is missing ({error.strerror or error})") from error


def _is_header_of(header: bytes, length: int) -> bool:
    """True if a block of a tar is the header of a file of that length."""
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size == length
    except tarfile.HeaderError:
        return False


def _index(
    tar: Location, names: list[str], spans: list[list[int]], annotations: list[list[int]]
) -> TarIndex:
    places = annotations or [[0, 0]] * len(names)
    images, beside = (np.array(rows, np.int64).reshape(len(names), 2) for rows in (spans, places))
    return TarIndex(tar, tuple(names), images, beside)


def scan_tar(tar: Location) -> TarIndex:
    """The index of a tar, from its headers; nothing is written.

    Raises:
        ShardError: If the tar does not exist, is cut off, is compressed, or is no tar.
    """
    size = tar_bytes(tar)
    names, spans, annotations, end = [], [], {}, 0
    try:
        with opened(tar) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                span = [member.offset_data, member.size]
                if member.isfile() and is_image_name(member.name):
                    names.append(member.name)
                    spans.append(span)
                elif member.isfile() and member.name.lower().endswith(ANNOTATION):
                    annotations[sample_key(member.name)] = span
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
            file.seek(end)
            closing = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(f"{tar}: cut off, or not an uncompressed tar ({error})") from error
    if len(closing) < tarfile.BLOCKSIZE or any(closing):
        raise ShardError(
            f"{tar}: cut off: {size} bytes, and no end of the archive after its last file"
        )
    beside = [annotations.get(sample_key(name), [0, 0]) for name in names] if annotations else []
    return _index(tar, names, spans, beside)


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

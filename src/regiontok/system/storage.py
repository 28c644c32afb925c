"""Files on disk or in object storage: listings, whole files, parts of files, each read tried again.

A place on disk is a `Path`, any other a URL that fsspec knows ("s3://bucket/folder").
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.need import MissingPackage, need

Location = Path | str
Result = TypeVar("Result")
TRIES = 4
FIRST_WAIT = 0.25  # seconds before the second try, doubled before each further one
NEAR = 1 << 16  # bytes between two parts that are read as one: less than a request costs
# What a network file system may say once and then take back; all other errors of a disk stay.
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET)


class StorageError(RegiontokError, OSError):
    """A place could not be read, although it was tried several times; the message names it."""


def location(text: str) -> Location:
    """The place that a user's text names.

    >>> location("s3://bucket/folder"), location("folder").name
    ('s3://bucket/folder', 'folder')
    """
    return text if "://" in text else Path(text)


def child(folder: Location, name: str) -> Location:
    """A file of a folder.

    >>> child("s3://bucket/folder/", "a.tar")
    's3://bucket/folder/a.tar'
    """
    return folder / name if isinstance(folder, Path) else f"{folder.rstrip('/')}/{name}"


def file_name(place: Location) -> str:
    """The last part of a place.

    >>> file_name("s3://bucket/folder/a.tar")
    'a.tar'
    """
    return place.name if isinstance(place, Path) else place.rpartition("/")[2]


def listing(folder: Location) -> dict[str, int]:
    """The lengths of the files of a folder by name; {} if there is no such folder.

    Raises:
        StorageError: If it cannot be read.
    """
    if isinstance(folder, Path):
        if not folder.is_dir():
            return {}
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    try:
        described = _tried(folder, lambda store, path: store.ls(path, detail=True))
    except FileNotFoundError:
        return {}
    return {
        file_name(entry["name"]): int(entry["size"])
        for entry in described
        if entry["type"] == "file"
    }


def file_bytes(place: Location) -> int:
    """Length of a file.

    Raises:
        FileNotFoundError: If there is none.
        StorageError: If the store does not answer.
    """
    if isinstance(place, Path):
        return place.stat().st_size
    return int(_tried(place, lambda store, path: store.size(path)))


def read_file(place: Location) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError: If there is none.
        StorageError: If it cannot be read.
    """
    if isinstance(place, Path):
        return _tried_on_disk(place, place.read_bytes)
    data: bytes = _tried(place, lambda store, path: store.cat_file(path))
    return data


def read_parts(place: Location, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Parts of a file, (first byte, number of bytes) each; those behind its end are shorter.

    Parts out of a store that lie close together are asked for as one, and all of them at once
    where the store can.

    Raises:
        FileNotFoundError: If there is no such file.
        StorageError: If a part cannot be read.
    """
    if isinstance(place, Path):
        return _tried_on_disk(place, lambda: _read_on_disk(place, spans))
    joined = _joined(spans)
    starts = [start for start, _ in joined]

    def read(store: Any, path: str) -> list[bytes]:
        ends = [start + length for start, length in joined]
        parts: list[bytes] = store.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
        return parts

    blocks = dict(zip(starts, _tried(place, read), strict=True))
    return [_cut(blocks, joined, start, length) for start, length in spans]


def _read_on_disk(path: Path, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    with open(path, "rb", buffering=0) as file:
        return [os.pread(file.fileno(), length, start) for start, length in spans]


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, with those that lie close together as one.

    >>> _joined([(0, 10), (500_000, 10), (20, 10)])
    [(0, 30), (500000, 10)]
    """
    joined: list[tuple[int, int]] = []
    for start, length in sorted(spans):
        if joined and start - sum(joined[-1]) <= NEAR:
            first, known = joined[-1]
            joined[-1] = first, max(known, start + length - first)
        else:
            joined.append((start, length))
    return joined


def _cut(
    blocks: dict[int, bytes], joined: Sequence[tuple[int, int]], start: int, length: int
) -> bytes:
    first = max(begin for begin, _ in joined if begin <= start)
    return blocks[first][start - first : start - first + length]


@contextmanager
def opened(place: Location) -> Iterator[Any]:
    """A file for reading at random, as a binary file object.

    Raises:
        FileNotFoundError: If there is none.
        StorageError: If it cannot be opened; what is read from it then is tried once.
    """
    if isinstance(place, Path):
        with open(place, "rb") as file:
            yield file
        return
    with _tried(place, lambda store, path: store.open(path, "rb")) as file:
        yield file


def _tried(url: str, work: Callable[[Any, str], Result]) -> Result:
    """`work(file system, path)`, tried several times."""
    # asked for at each call: fsspec keeps file systems, and makes new ones in a forked process
    fsspec = need("fsspec.core", extra="s3")
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            store, path = fsspec.url_to_fs(url)
            return work(store, path)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except ImportError as error:  # fsspec says which package this kind of URL wants
            raise MissingPackage(
                f"{url}: {first_line(error)} (pip install 'regiontok[s3]' for s3://)"
            ) from None
        except ValueError as error:
            raise StorageError(f"{url}: {first_line(error)}") from error
        except Exception as error:  # stores have errors of their own, of no common class
            if attempt == TRIES:
                raise StorageError(
                    f"{url}: cannot be read, tried {TRIES} times ({first_line(error)})"
                ) from error
        time.sleep(wait)
        wait *= 2
    raise AssertionError("unreachable")


def _tried_on_disk(path: Path, work: Callable[[], Result]) -> Result:
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            return work()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            if attempt == TRIES:
                raise StorageError(
                    f"{path}: cannot be read, tried {TRIES} times ({error.strerror})"
                ) from error
        time.sleep(wait)
        wait *= 2
    raise AssertionError("unreachable")

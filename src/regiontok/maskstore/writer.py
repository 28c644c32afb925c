"""Writing a mask store: parts by any number of processes, sorted into shards by one at a time.

A part has a name of its own and comes by renaming, so a kill loses what is in memory and no more.
Sorting parts in may be repeated or killed: a shard is a function of the images in it, byte by byte,
however often the run that made them was stopped.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.layout import (
    MARKER,
    SegmenterRecord,
    check_segmenter,
    check_shard_keys,
    is_store,
    part_files,
    read_marker,
    shard_files,
    write_marker,
)
from regiontok.maskstore.parquet_file import (
    file_keys,
    mask_row,
    read_file,
    table_of,
    write_file,
)
from regiontok.system.need import need

# images that a shard has at most, on average: 16 shards above that many images, 256 above 65,536
SHARD_IMAGES = 4096
# shards sorted in one pass over the parts: up to 65,536 images, under 1 GB, are in memory
PASS_SHARDS = 16
PART_IMAGES, PART_SECONDS = 64, 20.0  # a part is written after so many images, or so long
ABANDONED_SECONDS = 600  # age of a half-written part that no writer is at work on any more


class MaskWriter:
    """Add masks to a store, which is made if it is not there; `compact` sorts in what was written.

    It is a context: what is still in memory when it ends is written as a last part.

    Args:
        path: the store's folder.
        segmenter: the record of the segmenter whose masks are added.

    Raises:
        ValueError: If the folder has something else in it, or is a store of another segmenter.
    """

    def __init__(self, path: str | Path, segmenter: SegmenterRecord) -> None:
        self.root, self.segmenter = Path(path).expanduser(), segmenter
        create_store(self.root, segmenter)
        self._rows: list[dict[str, Any]] = []
        self._last_flush = time.monotonic()

    def add(self, key: str, masks: PixelMasks) -> None:
        """Keep the masks of one picture; a part is written now and then.

        Raises:
            ValueError: If the key is no hash of a picture, or a mask's code does not fit its size.
        """
        self.add_row(mask_row(key, masks))

    def add_row(self, row: dict[str, Any]) -> None:
        """Keep a row that `mask_row` made, in a worker process, say."""
        self._rows.append(row)
        age = time.monotonic() - self._last_flush
        if len(self._rows) >= PART_IMAGES or age > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory as a part."""
        self._last_flush = time.monotonic()
        if self._rows:
            fingerprint = self.segmenter.fingerprint
            folder = self.root / fingerprint / "parts"
            folder.mkdir(parents=True, exist_ok=True)
            table = table_of(sorted(self._rows, key=lambda row: row["key"]))
            write_file(table, folder / f"{uuid.uuid4().hex}.parquet", fingerprint)
            self._rows = []

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


RowPlace = tuple[Path, int]  # a file, and the number of a row in it


def compact(root: Path) -> None:
    """Sort all parts into the shards, one process at a time.

    Repeating it, or being killed in it, changes nothing.

    Raises:
        ValueError: If a file cannot be read; nothing is lost, and `verify` names all such files.
    """
    fingerprint = read_marker(root).fingerprint
    folder = root / fingerprint
    with locked(root):
        files = [*shard_files(folder), *part_files(folder)]
        keys_by_file = {path: file_keys(path, fingerprint) for path in files}
        for path in shard_files(folder):
            check_shard_keys(path, keys_by_file[path])  # a shard is read and replaced in one pass
        rows: dict[str, RowPlace] = {}
        for path in files:
            for row, key in enumerate(keys_by_file[path]):
                rows.setdefault(key, (path, row))
        keys_by_shard = _keys_by_shard(folder, sorted(rows))
        stale = [path for path, keys in keys_by_shard.items() if keys_by_file.get(path) != keys]
        for start in range(0, len(stale), PASS_SHARDS):
            shards = stale[start : start + PASS_SHARDS]
            _write_shards({path: keys_by_shard[path] for path in shards}, rows, fingerprint)
        for path in files:
            if path not in keys_by_shard:
                path.unlink(missing_ok=True)
        for path in folder.glob(".*.part"):  # left by a kill: only who holds the lock writes here
            path.unlink(missing_ok=True)
        _clear_abandoned(folder / "parts")


def _keys_by_shard(folder: Path, keys: Sequence[str]) -> dict[Path, list[str]]:
    """Which keys belong into which shard; a shard is named by the first digits of its keys."""
    digits = 0
    while len(keys) > SHARD_IMAGES * 16**digits:
        digits += 1
    by_shard: dict[Path, list[str]] = defaultdict(list)
    for key in keys:
        by_shard[folder / f"{key[:digits] or 'all'}.parquet"].append(key)
    return by_shard


def _clear_abandoned(folder: Path) -> None:
    """Remove what a kill left half-written among the parts.

    A writer at work needs a second for a part.
    """
    for path in folder.glob(".*.part"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


def _write_shards(
    keys_by_shard: Mapping[Path, list[str]], rows: Mapping[str, RowPlace], fingerprint: str
) -> None:
    """Write some shards anew, in one pass over the files that have their rows."""
    pa = need("pyarrow", extra="store")
    wanted: dict[Path, dict[Path, list[int]]] = defaultdict(lambda: defaultdict(list))
    for shard, keys in keys_by_shard.items():
        for key in keys:
            path, row = rows[key]
            wanted[path][shard].append(row)
    tables: dict[Path, list[Any]] = defaultdict(list)
    for path, rows_by_shard in wanted.items():
        table = read_file(path, fingerprint)
        for shard, numbers in rows_by_shard.items():
            tables[shard].append(table.take(numbers))
    for shard in keys_by_shard:
        table = pa.concat_tables(tables.pop(shard)).sort_by("key").combine_chunks()
        write_file(table, shard, fingerprint)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the store's lock, which one process has at a time.

    It falls with its process, so a kill leaves none behind.
    """
    import fcntl  # not there on Windows, which can read a store all the same

    with open(root / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_store(root: Path, segmenter: SegmenterRecord) -> None:
    """Make an empty store, or see that the one that is there is of the same segmenter.

    Raises:
        ValueError: If it is of another segmenter, or the folder has something else in it.
    """
    entries = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    names = [name for name in entries if not name.startswith(".")]
    if names and not is_store(root) and names != [MARKER]:
        raise ValueError(f"{root} has {names[0]!r} in it and is no mask store; name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        if not is_store(root):
            write_marker(root, segmenter)
    check_segmenter(root, read_marker(root), segmenter)

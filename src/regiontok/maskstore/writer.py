"""Writing the mask store: parts by any number of processes, sorted into the shards by one at a
time.

A part has a name of its own and comes by renaming, so a kill loses what is in memory and no more.
Sorting in may be repeated or killed: a shard is a function of the images in it, byte by byte,
however often the run that made them was stopped.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.file import FORMAT, file_keys, packed_row, read_file, table_of, write_file
from regiontok.maskstore.store import (
    MARKER,
    Maker,
    check_place,
    compare,
    is_store,
    marked,
    parts,
    shards,
)
from regiontok.system.files import replacing
from regiontok.system.need import need

# images a shard has at most, on average: 16 shards above that many images, 256 above 65,536
EACH = 4096
PASS = 16  # shards sorted in one pass over the parts: up to 65,536 images, under 1 GB, in memory
PART_IMAGES, PART_SECONDS = (
    64,
    20.0,
)  # a part is written at the latest after so many images, or so long


class MaskWriter:
    """Add masks to a store, made here if it is not there. Use it as a context; `compact` sorts in
    what was written.

    Raises:
        ValueError: a folder with something else in it, or a store of another segmenter.
    """

    def __init__(self, path: str | Path, maker: Maker) -> None:
        self.root, self.maker = Path(path).expanduser(), maker
        create(self.root, maker)
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def add(self, key: str, masks: PixelMasks) -> None:
        """Keep the masks of one picture; a part is written now and then."""
        self.add_row(packed_row(key, masks))

    def add_row(self, row: dict[str, Any]) -> None:
        """The same, of what `packed_row` made (in a worker process, say)."""
        self._rows.append(row)
        if len(self._rows) >= PART_IMAGES or time.monotonic() - self._since > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory as a part."""
        self._since = time.monotonic()
        if self._rows:
            folder = self.root / self.maker.fingerprint / "parts"
            folder.mkdir(parents=True, exist_ok=True)
            table = table_of(sorted(self._rows, key=lambda row: row["key"]))
            write_file(table, folder / f"{uuid.uuid4().hex}.parquet", self.maker.fingerprint)
            self._rows = []

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def compact(root: Path) -> None:
    """Sort all parts into the shards, one process at a time. Repeating it, or being killed in it,
    changes nothing.

    Raises:
        ValueError: a file that cannot be read; nothing is lost, `verify` names all such files.
    """
    maker = marked(root)
    folder = root / maker.fingerprint
    with locked(root):
        found = [*shards(folder), *parts(folder)]
        keys = {path: file_keys(path, maker.fingerprint) for path in found}
        for path in shards(folder):
            check_place(path, keys[path])  # a shard is read and replaced in one pass
        rows: dict[str, tuple[Path, int]] = {}
        for path in found:
            for row, key in enumerate(keys[path]):
                rows.setdefault(key, (path, row))
        digits = _digits(len(rows))
        by_shard: dict[Path, list[str]] = defaultdict(list)
        for key in sorted(rows):
            by_shard[folder / f"{key[:digits] or 'all'}.parquet"].append(key)
        stale = [path for path, wanted in by_shard.items() if keys.get(path) != wanted]
        for start in range(0, len(stale), PASS):
            _sort_in(
                {path: by_shard[path] for path in stale[start : start + PASS]},
                rows,
                maker.fingerprint,
            )
        for path in found:
            if path not in by_shard:
                path.unlink(missing_ok=True)
        for path in folder.glob(".*.part"):  # left by a kill: only who holds the lock writes here
            path.unlink(missing_ok=True)
        _clear(folder / "parts")


def _clear(folder: Path) -> None:
    """Remove what a kill left half-written among the parts; writers at work need a second for
    one."""
    for path in folder.glob(".*.part"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 600:
                path.unlink()


def _sort_in(
    wanted: dict[Path, list[str]], rows: dict[str, tuple[Path, int]], fingerprint: str
) -> None:
    pa = need("pyarrow", extra="store")
    picked: dict[Path, list[tuple[Path, int]]] = defaultdict(
        list
    )  # file -> its rows, and the shard of each
    for shard, keys in wanted.items():
        for key in keys:
            path, row = rows[key]
            picked[path].append((shard, row))
    pieces: dict[Path, list[Any]] = defaultdict(list)
    for path, chosen in picked.items():
        table = read_file(path, fingerprint)
        for shard in dict.fromkeys(shard for shard, _ in chosen):
            pieces[shard].append(table.take([row for owner, row in chosen if owner == shard]))
    for shard in wanted:
        write_file(
            pa.concat_tables(pieces.pop(shard)).sort_by("key").combine_chunks(), shard, fingerprint
        )


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """One process at a time; the lock falls with its process, so a kill leaves none behind."""
    import fcntl  # not there on Windows, which can read a store all the same

    with open(root / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create(root: Path, maker: Maker) -> None:
    """Make an empty store, or see that the one there is of the same segmenter.

    Raises:
        ValueError: it is of another, or the folder has something else in it.
    """
    there = (
        sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
        if root.is_dir()
        else []
    )
    if there and not is_store(root) and there != [MARKER]:
        raise ValueError(f"{root} has {there[0]!r} in it and is no mask store; name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        if not is_store(root):
            stated = {
                "format": FORMAT,
                "fingerprint": maker.fingerprint,
                "segmenter": maker.segmenter,
                "identity": maker.identity,
            }
            with replacing(root / MARKER) as part:
                part.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    compare(root, marked(root), maker)


def _digits(images: int) -> int:
    digits = 0
    while images > EACH * 16**digits:
        digits += 1
    return digits

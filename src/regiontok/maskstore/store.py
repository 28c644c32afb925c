"""Reading a mask store: masks by the hash of a picture's bytes, also while others write."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.layout import (
    SegmenterRecord,
    check_segmenter,
    part_files,
    read_marker,
    shard_files,
)
from regiontok.maskstore.parquet_file import GROUP_IMAGES, MaskRowGroup, file_keys

TRIES = 100  # look-ups of a store that another process sorts at the same moment
GROUPS_IN_MEMORY = 8


@dataclass(frozen=True)
class _FileState:
    """A file as it was at one time; files are replaced, never changed."""

    path: Path
    inode: int
    time: int

    @classmethod
    def of(cls, path: Path) -> _FileState:
        status = path.stat()
        return cls(path, status.st_ino, status.st_mtime_ns)

    def check(self) -> None:
        """Raise FileNotFoundError if the file is gone or was replaced: its rows may have moved."""
        if _FileState.of(self.path) != self:
            raise FileNotFoundError(self.path)


class MaskStore:
    """The masks of a store by the key of a picture (`Picture.key`).

    What lies in parts is found as well, so a store can be read while it is being written; `refresh`
    sees what came since.

    Args:
        path: the store's folder.
        segmenter: the record of the segmenter whose masks are wanted; by default any.
        skip_corrupt: leave out files that cannot be read; they are named in `corrupt`. By default
            they are an error.

    Attributes:
        root: the store's folder.
        segmenter: the record of the segmenter whose masks it holds.
        corrupt: the files that were left out, and why.

    Raises:
        ValueError: If the folder is no store, or one of another segmenter, or if it has a file of
            another fingerprint or one that cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        segmenter: SegmenterRecord | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        self.root, self.skip_corrupt = Path(path).expanduser(), skip_corrupt
        self.segmenter = read_marker(self.root)
        if segmenter:
            check_segmenter(self.root, self.segmenter, segmenter)
        self.corrupt: dict[Path, str] = {}
        self._keys_by_file: dict[_FileState, list[str]] = {}
        self._row_by_key: dict[str, tuple[_FileState, int]] = {}
        self._groups: OrderedDict[tuple[_FileState, int], MaskRowGroup] = OrderedDict()
        self.refresh()

    @property
    def fingerprint(self) -> str:
        """The hash of the segmenter's full spec and its identity."""
        return self.segmenter.fingerprint

    @property
    def folder(self) -> Path:
        """The folder of the shards."""
        return self.root / self.fingerprint

    def refresh(self) -> None:
        """Look for files that came or went."""
        for _ in range(TRIES):
            try:
                files = self._present_files()
                for file in files:
                    if file not in self._keys_by_file:
                        self._keys_by_file[file] = self._read_keys(file)
                break
            except FileNotFoundError:  # another process is sorting parts into shards
                continue
        else:
            raise self._restless()
        self._keys_by_file = {file: self._keys_by_file[file] for file in files}
        self._row_by_key = {
            key: (file, row)
            for file in reversed(files)  # a shard wins over a part
            for row, key in enumerate(self._keys_by_file[file])
        }

    def _present_files(self) -> list[_FileState]:
        """Shards, then parts. Parts are listed first: one goes when a shard has its images."""
        parts = [_FileState.of(path) for path in part_files(self.folder)]
        return [*map(_FileState.of, shard_files(self.folder)), *parts]

    def _read_keys(self, file: _FileState) -> list[str]:
        try:
            keys = file_keys(file.path, self.fingerprint)
        except ValueError as error:
            if not self.skip_corrupt:
                raise
            self.corrupt[file.path] = str(error)
            keys = []
        file.check()
        return keys

    def __len__(self) -> int:
        return len(self._row_by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._row_by_key

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._row_by_key))

    def get(self, key: str) -> PixelMasks | None:
        """The masks of the picture of that key; None if the store does not have it.

        Raises:
            ValueError: If the file is damaged there.
        """
        for _ in range(TRIES):
            if key not in self._row_by_key:
                return None
            file, row = self._row_by_key[key]
            try:
                return self._group(file, row // GROUP_IMAGES).masks(row % GROUP_IMAGES)
            except FileNotFoundError:  # it was sorted into a shard since
                self.refresh()
        raise self._restless()

    def items(self) -> Iterator[tuple[str, PixelMasks]]:
        """Keys with their masks, in the order of keys."""
        for key in self:
            masks = self.get(key)
            if masks is not None:
                yield key, masks

    def _group(self, file: _FileState, number: int) -> MaskRowGroup:
        if (file, number) not in self._groups:
            group = MaskRowGroup.read(file.path, number)
            file.check()
            self._groups[file, number] = group
            if len(self._groups) > GROUPS_IN_MEMORY:
                self._groups.popitem(last=False)
        self._groups.move_to_end((file, number))
        return self._groups[file, number]

    def _restless(self) -> ValueError:
        return ValueError(f"{self.folder}: its files keep changing; try again when nobody writes")

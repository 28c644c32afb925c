"""The mask store: masks computed once, run-length coded, in sorted Parquet shards, found by the
hash of an image's bytes.

    STORE/store.json               what is in it: the segmenter's full spec, its identity, the
    fingerprint of both STORE/set_aside.json           images that could not be done, and why
    STORE/<fingerprint>/ab.parquet the images whose key begins with "ab" (`all.parquet` while they
    are few), sorted by key STORE/<fingerprint>/parts/     what a run has finished and nobody has
    sorted in yet

The fingerprint stands in the path, in `store.json` and in every file, and is compared whenever one
is opened: a changed parameter never reads a stale mask.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.file import FORMAT, GROUP, Group, file_keys
from regiontok.methods import Segmenter
from regiontok.settings import registry

MARKER = "store.json"
TRIES = 100  # look-ups of a store that another process sorts at the same moment


@dataclass(frozen=True)
class Maker:
    """Whose masks a store holds.

    Attributes:
        segmenter: the full spec, every field and the version.
        identity: what the spec cannot say (weights, a package's version).
    """

    segmenter: str
    identity: str

    @classmethod
    def of(cls, segmenter: Segmenter) -> Maker:
        """Of a built segmenter."""
        return cls(registry.render(segmenter, full=True), segmenter.identity)

    @property
    def fingerprint(self) -> str:
        """Hash of both."""
        return hashlib.sha256(
            json.dumps([FORMAT, self.segmenter, self.identity]).encode()
        ).hexdigest()[:32]


@dataclass(frozen=True)
class _Stamp:
    """A file as it was at one time; files are replaced, never changed."""

    path: Path
    number: int
    time: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        state = path.stat()
        return cls(path, state.st_ino, state.st_mtime_ns)

    def check(self) -> None:
        """Raise FileNotFoundError if it is gone, or another by now: its rows may have moved."""
        if _Stamp.of(self.path) != self:
            raise FileNotFoundError(self.path)


def is_store(path: str | Path) -> bool:
    """True if the folder has a store's marker."""
    return (Path(path) / MARKER).is_file()


class MaskStore:
    """Read masks by the key of a picture (`Picture.key`).

    What lies in parts is found as well, so a store can be read while it is being written; `refresh`
    sees what came since.

    Args:
        path: the store's folder.
        maker: if given, the store must be of this one.
        skip_corrupt: leave out files that cannot be read; they are named in `corrupt`. By default
            they are an error.

    Raises:
        ValueError: no store, one of another segmenter, a file of another fingerprint, or one that
            cannot be read.
    """

    def __init__(
        self, path: str | Path, *, maker: Maker | None = None, skip_corrupt: bool = False
    ) -> None:
        self.root, self.skip_corrupt = Path(path).expanduser(), skip_corrupt
        self.maker = marked(self.root)
        if maker:
            compare(self.root, self.maker, maker)
        self.corrupt: dict[Path, str] = {}
        self._files: dict[
            _Stamp, list[str]
        ] = {}  # keys of each file, as it was when they were read
        self._where: dict[str, tuple[_Stamp, int]] = {}
        self._groups: OrderedDict[tuple[_Stamp, int], Group] = OrderedDict()
        self.refresh()

    @property
    def fingerprint(self) -> str:
        """Hash of the segmenter's full spec and its identity."""
        return self.maker.fingerprint

    @property
    def folder(self) -> Path:
        """Where the shards lie."""
        return self.root / self.fingerprint

    def refresh(self) -> None:
        """Look for files that came or went."""
        for _ in range(TRIES):
            try:
                later = [
                    _Stamp.of(path) for path in parts(self.folder)
                ]  # first: a part goes when a shard has its images
                found = [*map(_Stamp.of, shards(self.folder)), *later]
                for stamp in found:
                    if stamp not in self._files:
                        self._files[stamp] = self._keys(stamp)
                break
            except FileNotFoundError:  # another process is sorting in
                continue
        else:
            raise ValueError(
                f"{self.folder}: its files keep changing; try again when nobody writes"
            )
        self._files = {stamp: self._files[stamp] for stamp in found}
        self._where = {
            key: (stamp, row)
            for stamp in reversed(found)
            for row, key in enumerate(self._files[stamp])
        }

    def _keys(self, stamp: _Stamp) -> list[str]:
        try:
            keys = file_keys(stamp.path, self.fingerprint)
        except ValueError as error:
            if not self.skip_corrupt:
                raise
            self.corrupt[stamp.path] = str(error)
            keys = []
        stamp.check()
        return keys

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: object) -> bool:
        return key in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._where))

    def get(self, key: str) -> PixelMasks | None:
        """The masks of the picture of that key; None if the store does not have it.

        Raises:
            ValueError: the file is damaged there.
        """
        for _ in range(TRIES):
            if key not in self._where:
                return None
            stamp, row = self._where[key]
            try:
                return self._group(stamp, row // GROUP).masks(row % GROUP)
            except FileNotFoundError:  # it was sorted into a shard since
                self.refresh()
        raise ValueError(f"{self.folder}: its files keep changing; try again when nobody writes")

    def items(self) -> Iterator[tuple[str, PixelMasks]]:
        """Keys with their masks, in the order of keys."""
        for key in self:
            masks = self.get(key)
            if masks is not None:
                yield key, masks

    def _group(self, stamp: _Stamp, number: int) -> Group:
        if (stamp, number) not in self._groups:
            group = Group.read(stamp.path, number)
            stamp.check()
            self._groups[stamp, number] = group
            if len(self._groups) > 8:
                self._groups.popitem(last=False)
        self._groups.move_to_end((stamp, number))
        return self._groups[stamp, number]


def shards(folder: Path) -> list[Path]:
    """The sorted files of a store, in the order of their keys."""
    return sorted(folder.glob("[!.]*.parquet"))


def parts(folder: Path) -> list[Path]:
    """What is not sorted in yet."""
    return sorted((folder / "parts").glob("[!.]*.parquet"))


def check_place(path: Path, keys: Sequence[str]) -> None:
    """Raise ValueError unless the rows of a shard are sorted, each once, and begin with its
    name."""
    if any(left >= right for left, right in pairwise(keys)):
        raise ValueError(f"{path}: corrupt (its rows are not sorted by key, each once)")
    if path.stem != "all" and any(not key.startswith(path.stem) for key in keys):
        raise ValueError(f"{path}: corrupt (it holds a key that does not begin with {path.stem!r})")


def marked(root: Path) -> Maker:
    """Whose masks the marker says a store holds.

    Raises:
        ValueError: no marker, or one that cannot be read.
    """
    try:
        stated = json.loads((root / MARKER).read_bytes())
        maker = Maker(stated["segmenter"], stated["identity"])
        known, agrees = stated["format"] == FORMAT, stated["fingerprint"] == maker.fingerprint
    except FileNotFoundError:
        raise ValueError(f"{root}: no mask store (it has no {MARKER})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{root / MARKER}: cannot be read ({type(error).__name__}: {error})"
        ) from None
    if not known:
        raise ValueError(
            f"{root / MARKER}: of the format {stated['format']!r}, this regiontok reads {FORMAT!r}"
        )
    if not agrees:
        raise ValueError(f"{root / MARKER}: its fingerprint is not that of the segmenter it names")
    return maker


def compare(root: Path, found: Maker, wanted: Maker) -> None:
    """Raise ValueError with both unless the store is of the maker that is wanted."""
    if found != wanted:
        raise ValueError(
            f"{root} holds masks of {found.segmenter} ({found.identity or 'no identity'}), not of "
            f"{wanted.segmenter} ({wanted.identity or 'no identity'}); use another folder for these"
        )

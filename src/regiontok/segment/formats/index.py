"""Which stored masks belong to which picture: by file name, never by position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import SUFFIXES
from regiontok.system.choices import nearest

Size = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """The masks of one picture, not read yet.

    Attributes:
        name: the picture's file name as the store knows it: a stem, or a relative path.
        where: what to call the place in messages.
        read: picture size (H, W) -> masks.
    """

    name: str
    where: str
    read: Callable[[Size], PixelMasks]


class Catalogue:
    """Entries by file name without its suffix.

    The stem must be equal. Where several entries have it, the one that shares most folders with the
    picture is taken. A store with repeated stems tells its entries apart by folder, so there at
    least one folder must agree: `bear/00000.jpg` never gets the masks of `camel/00000`.

    >>> frames = Catalogue(Entry(name, "", lambda size: PixelMasks(size, ())) for name in ("camel/00000.png", "dog/00000.png"))
    >>> frames.find("photos/dog/00000.jpg").name
    'dog/00000.png'
    >>> frames.find("photos/bear/00000.jpg") is None
    True
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_stem: dict[str, list[tuple[tuple[str, ...], Entry]]] = defaultdict(list)
        for entry in entries:
            parts = _parts(entry.name)
            self._by_stem[parts[-1]].append((parts, entry))
        self._by_folder = any(len(found) > 1 for found in self._by_stem.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def find(self, name: str) -> Entry | None:
        """The entry of the picture of that name; None if there is none.

        Raises:
            ValueError: several fit equally well.
        """
        wanted = _parts(name)
        fitting = [
            (_shared(wanted, parts), len(parts), entry)
            for parts, entry in self._by_stem.get(wanted[-1], [])
        ]
        if self._by_folder:
            fitting = [
                (shared, depth, entry)
                for shared, depth, entry in fitting
                if shared > 1 or depth == 1
            ]
        most = max((shared for shared, _, _ in fitting), default=0)
        best = [entry for shared, _, entry in fitting if shared == most]
        if len(best) > 1:
            several = ", ".join(repr(entry.name) for entry in best[:3])
            raise ValueError(
                f"{len(best)} entries fit that name equally well: {several}; file names must tell them apart"
            )
        return best[0] if best else None

    def hint(self, name: str) -> str:
        """The end of a message about a name that is not there."""
        stem = _parts(name)[-1]
        if stem in self._by_stem:
            return f"; it has {self._by_stem[stem][0][1].name!r}, which lies in another folder"
        return nearest(stem, self._by_stem)


def fits(stated: tuple[int, ...], size: Size) -> None:
    """Raise ValueError with both sizes unless masks of size `stated` (H, W) belong to a picture of
    `size`."""
    if tuple(stated) != tuple(size):
        turned = (
            "; turned by 90 degrees: the picture is upright as its EXIF orientation says"
            if stated == size[::-1]
            else ""
        )
        raise ValueError(
            f"masks of size {tuple(stated)} (H, W) do not fit the picture of size {tuple(size)}{turned}"
        )


def _parts(name: str) -> tuple[str, ...]:
    """Folders and stem. Only an image's suffix goes: the stem of "scan.v2" is "scan.v2"."""
    *folders, last = [
        part for part in name.replace("\\", "/").split("/") if part not in ("", ".")
    ] or [""]
    stem, dot, suffix = last.rpartition(".")
    return (*folders, stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else last)


def _shared(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """How many parts are equal, from the last one backwards."""
    count = 0
    for a, b in zip(reversed(left), reversed(right), strict=False):
        if a != b:
            break
        count += 1
    return count

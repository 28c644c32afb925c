"""Which stored masks belong to which picture: by file name, never by position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import SUFFIXES
from regiontok.system.choices import nearest
from regiontok.system.names import same_name

Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class UnreadMasks:
    """The stored masks of one picture, not read yet.

    Attributes:
        name: the picture's file name as the store knows it: a stem, or a relative path.
        where: what messages call the file that holds them.
        read: the function from the picture's size (H, W) to its masks.
    """

    name: str
    where: str
    read: Callable[[Size], PixelMasks]


class MaskCatalogue:
    """Stored masks by the file name of their picture, without its suffix.

    The stem must be equal, its accents composed or not. Where several entries have it, the one that
    shares most folders with the picture is taken. A store with repeated stems tells its
    entries apart by folder, so there at least one folder must agree: `bear/00000.jpg` never gets
    the masks of `camel/00000`.

    >>> names = ("camel/00000.png", "dog/00000.png")
    >>> frames = MaskCatalogue(
    ...     UnreadMasks(name, "", lambda size: PixelMasks(size, ())) for name in names
    ... )
    >>> frames.find("photos/dog/00000.jpg").name
    'dog/00000.png'
    >>> frames.find("photos/bear/00000.jpg") is None
    True
    """

    def __init__(self, entries: Iterable[UnreadMasks]) -> None:
        self._by_stem: dict[str, list[tuple[tuple[str, ...], UnreadMasks]]] = defaultdict(list)
        for entry in entries:
            parts = _path_parts(entry.name)
            self._by_stem[parts[-1]].append((parts, entry))
        self._by_folder = any(len(entries) > 1 for entries in self._by_stem.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def find(self, name: str) -> UnreadMasks | None:
        """The masks of the picture of that name; None if there are none.

        Raises:
            ValueError: If several entries fit equally well.
        """
        wanted = _path_parts(name)
        fitting = [
            (_shared_parts(wanted, parts), len(parts), entry)
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
                f"{len(best)} entries fit that name equally well: {several}; "
                "file names must tell them apart"
            )
        return best[0] if best else None

    def hint(self, name: str) -> str:
        """The end of a message about a name that the catalogue does not have."""
        stem = _path_parts(name)[-1]
        if stem in self._by_stem:
            return f"; it has {self._by_stem[stem][0][1].name!r}, which lies in another folder"
        return nearest(stem, self._by_stem)


def check_size(stated: tuple[int, ...], size: Size) -> None:
    """Raise ValueError with both sizes unless masks of size `stated` fit a picture of `size`."""
    if tuple(stated) != tuple(size):
        turned = (
            "; turned by 90 degrees: the picture is upright as its EXIF orientation says"
            if stated == size[::-1]
            else ""
        )
        raise ValueError(
            f"masks of size {tuple(stated)} (H, W) do not fit the picture of size "
            f"{tuple(size)}{turned}"
        )


def _path_parts(name: str) -> tuple[str, ...]:
    """The folders and the stem; only an image's suffix is cut off, so "scan.v2" stays whole."""
    pieces = [
        piece for piece in same_name(name).replace("\\", "/").split("/") if piece not in ("", ".")
    ]
    *folders, last = pieces or [""]
    stem, dot, suffix = last.rpartition(".")
    return (*folders, stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else last)


def _shared_parts(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """How many parts are equal, from the last one backwards."""
    count = 0
    for a, b in zip(reversed(left), reversed(right), strict=False):
        if a != b:
            break
        count += 1
    return count

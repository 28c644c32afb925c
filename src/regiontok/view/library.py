"""The library of a viewer: what lies behind the paths of the command line, as numbered items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from regiontok.core import video
from regiontok.core.animation import is_animated
from regiontok.data.collect import NoImages, collect
from regiontok.data.walk import is_output_folder, is_run_folder
from regiontok.maskstore.layout import is_store
from regiontok.system.logs import module_logger
from regiontok.view.roots import Roots

Kind = Literal["photo", "clip", "output", "store", "run", "answers", "talk"]
Note: TypeAlias = Callable[[str], None]
_LOG = module_logger(__name__)


@dataclass(frozen=True)
class Item:
    """One thing that can be looked at.

    Attributes:
        number: by which the page asks for it; no page ever names a path.
        kind: what it is.
        name: what it is called on the page: its path below what was named.
        path: where it lies.
    """

    number: int
    kind: Kind
    name: str
    path: Path


class Library:
    """All items behind some paths.

    Args:
        paths: photos, clips, folders of photos, folders that `tokenize` wrote, mask stores, folders
            of training runs, and of answers.
        clips: take a folder of photos as the frames of one clip.
        note: is told what is set aside, a line each; by default the log is.

    Attributes:
        items: the items by number.
        roots: what may be opened.

    Raises:
        NoImages: If a path leads to nothing that can be looked at.
    """

    def __init__(
        self, paths: Sequence[Path], *, clips: bool = False, note: Note = _LOG.warning
    ) -> None:
        self.roots = Roots(paths)
        self.items: list[Item] = []
        outside = 0
        for path in paths:
            for kind, name, place in _found(path, clips=clips, note=note):
                if self.roots.holds(place):
                    self.items.append(Item(len(self.items), kind, name, place))
                else:
                    outside += 1
        if outside:
            links = "link leads" if outside == 1 else "links lead"
            left_out = "is" if outside == 1 else "are"
            note(f"{outside} {links} outside the folders that were named, and {left_out} left out")
        if not self.items:
            raise NoImages("nothing to look at: name photos, clips, or folders of them or of runs")

    def of_kind(self, *kinds: Kind) -> list[Item]:
        """The items of some kinds, in their order."""
        return [item for item in self.items if item.kind in kinds]

    def item(self, number: int) -> Item:
        """The item of a number.

        Raises:
            KeyError: If there is none.
        """
        if not 0 <= number < len(self.items):
            raise KeyError(number)
        return self.items[number]


def _found(path: Path, *, clips: bool, note: Note) -> Iterator[tuple[Kind, str, Path]]:
    """The items of one path: kind, name, and where each lies."""
    if path.is_dir():
        yield from _found_in(path, clips=clips, note=note)
    elif path.suffix.lower() in video.SUFFIXES or (path.is_file() and is_animated(path)):
        yield "clip", path.name, path
    elif path.name.endswith(".jsonl"):
        yield "answers", path.name, path
    elif path.suffix.lower() == ".json":
        yield "talk", path.name, path
    else:
        yield from (("photo", image.name, image.path) for image in collect([str(path)], note=note))


def _found_in(folder: Path, *, clips: bool, note: Note) -> Iterator[tuple[Kind, str, Path]]:
    name = folder.name or folder.resolve().name
    if is_store(folder):
        yield "store", name, folder
    elif any(folder.glob("answers*.jsonl")):
        yield "answers", name, folder
    elif is_run_folder(os.listdir(folder)):
        yield "run", name, folder
    elif clips:
        yield "clip", name, folder
    elif outputs := list(_outputs_below(folder)):
        yield from (("output", _name_below(place, folder), place) for place in outputs)
    elif inner := _special_inside(folder):
        for place in inner:
            yield from _found_in(place, clips=False, note=note)
    else:
        yield from (
            ("photo", image.name, image.path) for image in collect([str(folder)], note=note)
        )


def _special_inside(folder: Path) -> list[Path]:
    """The folders directly inside that are runs, answers or stores, in the order of their names."""
    inner = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    return sorted(
        place
        for place in inner
        if is_store(place) or is_run_folder(os.listdir(place)) or any(place.glob("answers*.jsonl"))
    )


def _outputs_below(folder: Path) -> Iterator[Path]:
    """The folders below that `tokenize` wrote, one an image, in the order of their names."""
    for place, subfolders, files in os.walk(folder):
        subfolders.sort()
        if is_output_folder(files):
            yield Path(place)


def _name_below(place: Path, folder: Path) -> str:
    return place.relative_to(folder).as_posix() if place != folder else folder.name

"""A writer of one form: it is shown picture after picture, keeps none, and ends with its index."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TextIO

from PIL import Image

from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import KINDS
from regiontok.miniworld.kinds.twins import Twins
from regiontok.miniworld.world import World, WorldPicture

QUALITY = 95  # of JPEG files, where a form wants them


class Shown(NamedTuple):
    """One picture of the world and what is asked about it.

    Attributes:
        number: its number in its split.
        picture: the picture.
        questions: the questions about it, one of each kind that it allows and
            the writer wants.
        twins: it and its twin, if it has one and the writer wants them.
    """

    number: int
    picture: WorldPicture
    questions: Sequence[WorldQuestion]
    twins: Twins | None = None


class Writer(ABC):
    """Writes the world into a folder in one form.

    Attributes:
        kinds: the kinds of questions that it writes.
        wants_twins: whether it writes twins.

    Args:
        folder: the folder, which is there and empty.
        world: the world.
    """

    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    wants_twins: ClassVar[bool] = False

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        self._files = ExitStack()

    def chosen(self, shown: Shown) -> Shown:
        """What is written of a picture; all of it, as a rule."""
        return shown

    @abstractmethod
    def add(self, shown: Shown) -> None:
        """Write one picture."""

    def finish(self) -> None:  # noqa: B027  # most writers have nothing left to write
        """Write what can only be written when all pictures are there."""

    def close(self) -> None:
        """Close all files, also after an error."""
        self._files.close()

    def json_list(self, name: str) -> JsonList:
        """A new file with a JSON list, which is closed with the writer."""
        return self._files.enter_context(json_list(self.folder / name))

    def lines(self, name: str) -> JsonLines:
        """A new file with a JSON object a line, which is closed with the writer."""
        return JsonLines(self._files.enter_context(opened(self.folder / name)))

    def table(self, name: str, columns: Sequence[str]) -> csv.DictWriter[str]:
        """A new CSV file with its head, which is closed with the writer."""
        writer = csv.DictWriter(self._files.enter_context(opened(self.folder / name)), columns)
        writer.writeheader()
        return writer

    def save(self, picture: WorldPicture, folder: str = "images", name: str = "") -> str:
        """Save a picture below the folder; its path from there is returned.

        Args:
            picture: the picture.
            folder: the sub-folder, which is made.
            name: name of the file, PNG or JPEG; by default the picture's, as PNG.
        """
        name = name or f"{picture.name}.png"
        path = self.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # level 1 takes a third of the time of level 6 and 8 % more bytes
        image = Image.fromarray(picture.pixels)
        if path.suffix == ".png":
            image.save(path, compress_level=1)
        else:
            image.save(path, quality=QUALITY)
        return f"{folder}/{name}" if folder else name


class JsonLines:
    """A file with a JSON object a line.

    Args:
        file: the open file.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one object."""
        self._file.write(json.dumps(row) + "\n")


class JsonList:
    """A file with one JSON list, an item a line, of which none is kept.

    Args:
        file: the open file, in which the list has begun.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.count = 0

    def add(self, item: Any) -> None:
        """Write one item."""
        self._file.write(f"{',' if self.count else ''}\n{json.dumps(item)}")
        self.count += 1


@contextmanager
def json_list(path: Path) -> Iterator[JsonList]:
    """A new file with a JSON list, which ends with the block."""
    with opened(path) as file:
        file.write("[")
        yield JsonList(file)
        file.write("\n]\n")


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A new text file, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file

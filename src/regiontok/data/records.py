"""LLaVA's records as published (JSON or JSON-lines and an image folder): read, checked, weighted;
nothing is lost without a count.

After: LLaVA-1.5's data (`llava_v1_5_mix665k.json`: id, image, conversations of from and value);
rows D13, O4.
Differs: LLaVA crashes on a record that does not fit, or drops it in silence at training time; here
it is set aside when the file is read, with its reason. A message with one `<image>` gets it in
front, as LLaVA's own preprocessing does; several stay where they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.data.generated import Miniworld, is_generated, picture_of
from regiontok.settings.recipe import Data
from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError

IMAGE = "<image>"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


class RecordError(RegiontokError, ValueError):
    """A record that cannot be trained on; the message is its reason, by which it is counted."""


@dataclass(frozen=True)
class Turn:
    """One message: its `role` (system, user or assistant) and its `text`, `<image>` where a picture
    stands."""

    role: str
    text: str


@dataclass(frozen=True)
class Record:
    """One conversation about no, one or several pictures.

    Attributes:
        id: as published, or the place in its file.
        images: what `open_picture` takes: paths, or scenes of a generated source; one a
            placeholder, in their order.
        turns: an optional system message, then user and assistant in turn, an assistant at the end.

    >>> record = Record.of({"id": "7", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})
    >>> [turn.role for turn in record.turns], record.images
    (['user', 'assistant'], ())
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, row: Any, *, folder: Path | None = None, place: int = 0) -> Record:
        """From LLaVA's form; paths are relative to `folder` (None: they are taken as they are).

        Raises:
            RecordError: not of that form; roles that do not alternate; another number of `<image>`
                than of images.
        """
        if not isinstance(row, Mapping) or not isinstance(row.get("conversations"), list):
            raise RecordError("not an object with a list of conversations")
        turns = _alternating([_turn(message) for message in row["conversations"]])
        images = row.get("image")
        images = [] if images is None else [images] if isinstance(images, str) else images
        if not isinstance(images, list) or not all(
            isinstance(image, str) and image for image in images
        ):
            raise RecordError("image is neither a path nor a list of paths")
        stand = sum(turn.text.count(IMAGE) for turn in turns)
        if stand != len(images):
            raise RecordError(f"{stand} {IMAGE} in the conversation, but {len(images)} images")
        paths = tuple(image if folder is None else _inside(folder, image) for image in images)
        return cls(str(row.get("id", place)), paths, turns)


@dataclass(frozen=True)
class Aside:
    """A record that is not trained on: where it stands, and why."""

    source: str
    place: int
    id: str
    reason: str


@dataclass(frozen=True)
class Source:
    """One source: its name, the weight of its records, and their range `[start, stop)` among all
    records."""

    name: str
    weight: float
    start: int
    stop: int


class Records(Sequence[Record]):
    """The records of all sources, one after the other. Pickles small and holds no million Python
    objects.

    Attributes:
        sources: ranges and weights.
        aside: what was set aside while reading.
    """

    def __init__(
        self, parts: Sequence[Rows | Miniworld], sources: Sequence[Source], aside: Sequence[Aside]
    ) -> None:
        self._parts, self.sources, self.aside = tuple(parts), tuple(sources), tuple(aside)

    def __len__(self) -> int:
        return self.sources[-1].stop if self.sources else 0

    def __getitem__(self, index: Any) -> Any:
        """A record; a slice is refused (take indices)."""
        place = range(len(self))[index]
        number = next(at for at, source in enumerate(self.sources) if place < source.stop)
        row = self._parts[number][place - self.sources[number].start]
        return row if isinstance(row, Record) else Record.of(row)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def source_of(self, index: int) -> Source:
        """The source of a record."""
        return next(source for source in self.sources if index < source.stop)

    @cached_property
    def digest(self) -> str:
        """Hash of all records: the same digest, the same records at the same places."""
        found = sha256()
        for part in self._parts:
            found.update(part.digest.encode())
        return found.hexdigest()

    @cached_property
    def counts(self) -> Counter[str]:
        """How many records were set aside, by reason."""
        return Counter(one.reason for one in self.aside)


class Rows(Sequence[Record]):
    """Records of a file as one buffer of JSON and offsets: worker processes share it, and no
    reference count touches its pages."""

    def __init__(self, records: Sequence[Record]) -> None:
        lines = [
            json.dumps([r.id, r.images, [(t.role, t.text) for t in r.turns]]).encode()
            for r in records
        ]
        self._buffer = b"".join(lines)
        self._ends = np.cumsum([len(line) for line in lines], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def digest(self) -> str:
        """Hash of all rows."""
        return sha256(self._buffer + self._ends.tobytes()).hexdigest()

    def __getitem__(self, index: Any) -> Any:
        start = int(self._ends[index - 1]) if index else 0
        name, images, turns = json.loads(self._buffer[start : int(self._ends[index])])
        return Record(name, tuple(images), tuple(Turn(*turn) for turn in turns))


def read(sources: Sequence[Data], *, look: bool = True) -> Records:
    """All records of a stage's sources; see `core.recipe.Data`.

    Args:
        sources: files in LLaVA's form with their image folder (default: the folder of the file), or
            "miniworld(2000)".
        look: check that every image file is there (one `stat` each).

    Raises:
        ValueError: a file that is not there, is no JSON, or has no record that can be trained on; a
            weight that is not positive.
    """
    parts: list[Rows | Miniworld] = []
    found: list[Source] = []
    aside: list[Aside] = []
    for data in sources:
        if not data.weight > 0:
            raise ValueError(f"the weight of {data.records!r} must be positive, not {data.weight}")
        part = (
            Miniworld.of(data.records) if is_generated(data.records) else _file(data, look, aside)
        )
        start = found[-1].stop if found else 0
        parts.append(part)
        found.append(Source(data.records, data.weight, start, start + len(part)))
    if not found:
        raise ValueError(
            "no source of records is named: give at least one [[stage.data]] with records = ..."
        )
    return Records(parts, found, aside)


def open_picture(image: str) -> Picture:
    """Decode a record's image.

    Raises:
        PictureError: it cannot be decoded.
    """
    return picture_of(image) if is_generated(image) else Picture.of(image)


def split(records: Records, held_out: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(indices to train on, `held_out` indices kept for evaluation), both ascending; drawn over all
    sources alike.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if not 0 <= held_out < len(records):
        raise ValueError(
            f"{held_out} of {len(records)} records cannot be held out: at least one must be left to train on"
        )
    order = np.random.default_rng([seed, len(records)]).permutation(len(records))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _file(data: Data, look: bool, aside: list[Aside]) -> Rows:
    path = Path(data.records)
    folder = Path(data.images) if data.images else path.parent
    if data.images and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of images (for {path})")
    kept: list[Record] = []
    before = len(aside)
    for place, row in enumerate(_rows(path)):
        try:
            if isinstance(row, RecordError):
                raise row
            record = Record.of(row, folder=folder, place=place)
            if look and any(not Path(image).is_file() for image in record.images):
                raise RecordError("image file is missing")
            kept.append(record)
        except RecordError as error:
            name = str(row.get("id", place)) if isinstance(row, Mapping) else str(place)
            aside.append(Aside(data.records, place, name, str(error)))
    if not kept:
        reasons = Counter(one.reason for one in aside[before:]).most_common(3)
        raise ValueError(f"{path} has no record that can be trained on: {reasons or 'it is empty'}")
    return Rows(kept)


def _rows(path: Path) -> Iterator[Any]:
    """The objects of a JSON list, or of JSON lines (a line that is none becomes its error)."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = next((line.lstrip()[:1] for line in file if line.strip()), "")
            file.seek(0)
            if start == "[":
                yield from json.load(file)
                return
            for line in file:
                if line.strip():
                    yield _line(line)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file of records, and no generated source; known: miniworld(n)"
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: not a readable JSON file of records ({error})") from None


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return RecordError("a line that is no JSON")


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping) or not isinstance(message.get("value"), str):
        raise RecordError("a message without from and value")
    role = ROLES.get(str(message.get("from")))
    if role is None:
        raise RecordError(
            f"unknown speaker{nearest(str(message.get('from')), ROLES)}; known: {', '.join(ROLES)}"
        )
    text = message["value"]
    if role != "user" and IMAGE in text:
        raise RecordError(f"{IMAGE} in a message of {role}")
    if role == "user" and text.count(IMAGE) == 1:
        text = f"{IMAGE}\n{text.replace(IMAGE, '').strip()}".strip()
    if not text.strip():
        raise RecordError(f"an empty message of {role}")
    return Turn(role, text)


def _alternating(turns: list[Turn]) -> tuple[Turn, ...]:
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or [turn.role for turn in spoken] != expected:
        raise RecordError("speakers do not alternate from user to assistant")
    return tuple(turns)


def _inside(folder: Path, image: str) -> str:
    pure = PurePosixPath(image)
    if pure.is_absolute() or ".." in pure.parts or "\0" in image:
        raise RecordError("image path leaves its folder")
    return str(folder / pure)

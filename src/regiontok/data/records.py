"""LLaVA's records as published (JSON or JSON lines and an image folder): read, checked, weighted.

Nothing is lost without a count.

After: LLaVA-1.5's data (rows D13, O4); `record` has the form.
Differs: LLaVA crashes on a record that does not fit, or drops it in silence at training time; here
it is set aside when the file is read, with its reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.data.generated import Miniworld, generated_records, is_generated, picture_of
from regiontok.data.record import Record, RecordError, Turn, record_id
from regiontok.data.world import WorldRecords
from regiontok.settings.recipe import Data


@dataclass(frozen=True)
class SetAsideRecord:
    """A record that is not trained on.

    Attributes:
        source: the source as the recipe names it.
        number: the record's number in its source.
        id: the record's id.
        reason: why it is set aside.
    """

    source: str
    number: int
    id: str
    reason: str


@dataclass(frozen=True)
class RecordSource:
    """One source of records.

    Attributes:
        name: the source as the recipe names it.
        weight: how often each of its records is drawn, against 1.
        start: index of its first record among all records.
        stop: index behind its last record.
    """

    name: str
    weight: float
    start: int
    stop: int


class Records(Sequence[Record]):
    """The records of all sources, one after the other.

    It pickles small and holds no million Python objects.

    Args:
        records: the records of each source.
        sources: ranges and weights of the sources.
        set_aside: records that were set aside while reading.
    """

    def __init__(
        self,
        records: Sequence[RecordBuffer | Miniworld | WorldRecords],
        sources: Sequence[RecordSource],
        set_aside: Sequence[SetAsideRecord],
    ) -> None:
        self._records, self.sources = tuple(records), tuple(sources)
        self.set_aside = tuple(set_aside)

    def __len__(self) -> int:
        return self.sources[-1].stop if self.sources else 0

    def __getitem__(self, index: Any) -> Any:
        """A record; a slice is refused (take indices)."""
        records, number = self._place(index)
        row = records[number]
        return row if isinstance(row, Record) else Record.of(row)

    def images_of(self, index: int) -> tuple[str, ...]:
        """The images of a record, whose questions are made only where they decide them."""
        records, number = self._place(index)
        return records.images_of(number)

    def _place(self, index: Any) -> tuple[RecordBuffer | Miniworld | WorldRecords, int]:
        """The records of one source, and a record's index among them."""
        index = range(len(self))[index]
        for records, source in zip(self._records, self.sources, strict=True):
            if index < source.stop:
                return records, index - source.start
        raise IndexError(index)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def source_of(self, index: int) -> RecordSource:
        """The source of a record."""
        return next(source for source in self.sources if index < source.stop)

    def as_set_aside(self, index: int, reason: str) -> SetAsideRecord:
        """A record that is set aside after reading, for a reason."""
        source = self.source_of(index)
        return SetAsideRecord(source.name, index - source.start, self[index].id, reason)

    @cached_property
    def digest(self) -> str:
        """A hash of all records: the same digest, the same records at the same indices."""
        digest = sha256()
        for records in self._records:
            digest.update(records.digest.encode())
        return digest.hexdigest()

    @cached_property
    def counts(self) -> Counter[str]:
        """How many records were set aside, by reason."""
        return Counter(record.reason for record in self.set_aside)


class RecordBuffer(Sequence[Record]):
    """The records of a file as one buffer of JSON and offsets.

    Worker processes share it, and no reference count touches its pages.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        lines = [
            json.dumps(
                [record.id, record.images, [(turn.role, turn.text) for turn in record.turns]]
            ).encode()
            for record in records
        ]
        self._buffer = b"".join(lines)
        self._ends = np.cumsum([len(line) for line in lines], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def digest(self) -> str:
        """A hash of all records."""
        return sha256(self._buffer + self._ends.tobytes()).hexdigest()

    def __getitem__(self, index: Any) -> Any:
        start = int(self._ends[index - 1]) if index else 0
        name, images, turns = json.loads(self._buffer[start : int(self._ends[index])])
        return Record(name, tuple(images), tuple(Turn(*turn) for turn in turns))

    def images_of(self, index: int) -> tuple[str, ...]:
        """The images of one record."""
        images: tuple[str, ...] = self[index].images
        return images


def read(sources: Sequence[Data], *, check_images: bool = True) -> Records:
    """Read all records of a stage's sources; see `regiontok.settings.recipe.Data`.

    Args:
        sources: files in LLaVA's form with their image folder (default: the folder of the file), or
            "miniworld(2000)" or "world(2000)".
        check_images: check that every image file exists (one `stat` each).

    Raises:
        ValueError: If a file does not exist, is no JSON, or has no record that can be trained on;
            if a weight is not positive.
    """
    records: list[RecordBuffer | Miniworld | WorldRecords] = []
    ranges: list[RecordSource] = []
    set_aside: list[SetAsideRecord] = []
    for data in sources:
        if not data.weight > 0:
            raise ValueError(f"the weight of {data.records!r} must be positive, not {data.weight}")
        if is_generated(data.records):
            records.append(generated_records(data.records))
        else:
            records.append(_read_file(data, check_images, set_aside))
        start = ranges[-1].stop if ranges else 0
        ranges.append(RecordSource(data.records, data.weight, start, start + len(records[-1])))
    if not records:
        raise ValueError(
            "no source of records is named: give at least one [[stage.data]] with records = ..."
        )
    return Records(records, ranges, set_aside)


def open_picture(image: str) -> Picture:
    """Decode a record's image.

    Raises:
        PictureError: If it cannot be decoded.
    """
    return picture_of(image) if is_generated(image) else Picture.of(image)


def split(records: Records, held_out: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the records that are kept for evaluation, over all sources alike.

    Returns:
        `[r - held_out]` indices to train on and `[held_out]` indices kept for evaluation, both
        ascending.

    Raises:
        ValueError: If nothing would be left to train on.
    """
    if not 0 <= held_out < len(records):
        raise ValueError(
            f"{held_out} of {len(records)} records cannot be held out: "
            "at least one must be left to train on"
        )
    order = np.random.default_rng([seed, len(records)]).permutation(len(records))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def set_aside_notes(set_aside: Sequence[SetAsideRecord], *, most: int = 8) -> list[str]:
    """A line for each reason for which records are set aside, with the first of them.

    Args:
        set_aside: the records.
        most: reasons that are written out, those of most records first.
    """
    by_reason: dict[tuple[str, str], list[SetAsideRecord]] = {}
    for record in set_aside:
        by_reason.setdefault((record.source, record.reason), []).append(record)
    groups = sorted(by_reason.values(), key=len, reverse=True)
    notes = [
        f"{len(group)} {'record' if len(group) == 1 else 'records'} of {group[0].source} set "
        f"aside: {group[0].reason}; the first is {group[0].id!r} (number {group[0].number})"
        for group in groups[:most]
    ]
    if further := sum(map(len, groups[most:])):
        notes.append(f"{further} more records are set aside for {len(groups) - most} other reasons")
    return notes


def _read_file(data: Data, check_images: bool, set_aside: list[SetAsideRecord]) -> RecordBuffer:
    """The records of a file; those that do not fit are added to `set_aside`."""
    path = Path(data.records)
    folder = Path(data.images) if data.images else path.parent
    if data.images and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of images (for {path})")
    records: list[Record] = []
    before = len(set_aside)
    for number, row in enumerate(_rows(path)):
        try:
            if isinstance(row, RecordError):
                raise row
            record = Record.of(row, folder=folder, number=number)
            if check_images and any(not Path(image).is_file() for image in record.images):
                raise RecordError("image file is missing")
            records.append(record)
        except RecordError as error:
            set_aside.append(
                SetAsideRecord(data.records, number, record_id(row, number), str(error))
            )
    if not records:
        cause = "; ".join(set_aside_notes(set_aside[before:])) or "it is empty"
        raise ValueError(f"{path} has no record that can be trained on: {cause}")
    return RecordBuffer(records)


def _rows(path: Path) -> Iterator[Any]:
    """The objects of a JSON list, or of JSON lines (a line that is no JSON becomes its error)."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line.lstrip()[:1] for line in file if line.strip()), "")
            file.seek(0)
            if first == "[":
                yield from json.load(file)
                return
            for line in file:
                if line.strip():
                    yield _parsed(line)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file of records, and no generated source; "
            "known: miniworld(n), world(n)"
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: not a readable JSON file of records ({error})") from None


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return RecordError("a line that is no JSON")

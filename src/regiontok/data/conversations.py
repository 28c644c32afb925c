"""Records -> examples, drawn by index: what a DataLoader's workers hold. A picture that cannot be
decoded never stops a run.

A record whose picture cannot be decoded gives its place to the next record of its source that can
be and is no longer. Batches so keep their size on every process (a shorter one may be empty, and
ranks would wait for each other), packed rows keep to their length, and what is trained on stays a
function of the data and the index: the same on resuming, for any number of workers and ranks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture, PictureError
from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Example
from regiontok.data.labels import Labeller
from regiontok.data.lengths import Measure
from regiontok.data.records import Record, RecordError, Records, open_picture
from regiontok.system.logs import module_logger

_LOG = module_logger(__name__)


class Conversations(torch.utils.data.Dataset):
    """`conversations[7]` is an `Example`, `conversations[(3, 7)]` a tuple of them: one packed row.

    Args:
        records: see `read`.
        labeller: makes ids and labels.
        measure: of the same records: a stand-in is kept, and no longer than what it stands for.
        cache: gives the encoder's answers instead of pictures.
        aside: a file of JSON lines that replaced records are written to, from any process.
        strict: raise instead of replacing.
    """

    def __init__(
        self,
        records: Records,
        labeller: Labeller,
        *,
        measure: Measure | None = None,
        cache: FeatureCache | None = None,
        aside: str | Path | None = None,
        strict: bool = False,
    ) -> None:
        self.records, self.labeller, self.measure, self.cache, self.strict = (
            records,
            labeller,
            measure,
            cache,
            strict,
        )
        self.aside = Path(aside) if aside else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int | tuple[int, ...]) -> Example | tuple[Example, ...]:
        """One example, or those of a packed row.

        Raises:
            PictureError, RecordError: if `strict`.
            ValueError: no record of the source can stand in.
        """
        return (
            tuple(self._one(index) for index in row) if isinstance(row, tuple) else self._one(row)
        )

    def _one(self, index: int) -> Example:
        source = self.records.source_of(index)
        size = source.stop - source.start
        for offset in range(size):
            place = source.start + (index - source.start + offset) % size
            if offset and not self._may_stand_in(place, index):
                continue
            record = self.records[place]
            try:
                ids, labels = self.labeller(record.turns)
                return Example(ids, labels, self._pictures(record))
            except (PictureError, RecordError) as error:
                if self.strict:
                    raise
                self._note(place, record, str(error))
        raise ValueError(
            f"record {index} of {source.name} cannot be read, and no other of its source can stand in for it"
        )

    def _may_stand_in(self, place: int, index: int) -> bool:
        if self.measure is None:
            return True
        return bool(
            self.measure.keep[place] and self.measure.lengths[place] <= self.measure.lengths[index]
        )

    def _pictures(self, record: Record) -> tuple[Picture | PatchGrid, ...]:
        if self.cache is not None:
            return tuple(self.cache.views(record.images))
        return tuple(open_picture(image) for image in record.images)

    def _note(self, place: int, record: Record, reason: str) -> None:
        _LOG.warning("record %s is replaced by the next that fits: %s", record.id, reason)
        if self.aside is not None:
            line = json.dumps({"index": place, "id": record.id, "reason": reason}) + "\n"
            file = os.open(self.aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, line.encode())  # one write: lines of several processes do not mix
            finally:
                os.close(file)


def replaced(path: str | Path) -> dict[int, str]:
    """Record -> reason, from the file that `Conversations(aside=...)` wrote; a record that came up
    in several epochs counts once."""
    if not Path(path).is_file():
        return {}
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {row["index"]: row["reason"] for row in rows}

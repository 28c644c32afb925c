"""Examples by index, as a DataLoader's workers draw them; a bad picture never stops a run.

A record whose picture cannot be decoded gives its place to the next record of its source that can
be decoded and is not longer. So batches keep their size on every process (a shorter one may be
empty, and ranks would wait for each other), packed rows keep to their length, and what is trained
on stays a function of the data and the index: the same on resuming, for any number of workers and
ranks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture, PictureError
from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Example
from regiontok.data.cut import cut_row
from regiontok.data.labels import Labeller
from regiontok.data.lengths import Measure
from regiontok.data.naming import Namer
from regiontok.data.record import Record, RecordError
from regiontok.data.records import Records, open_picture
from regiontok.model.naming import ObjectWords
from regiontok.system.logs import module_logger
from regiontok.system.strict_json import parse_json

_LOG = module_logger(__name__)


class Conversations(torch.utils.data.Dataset[Example | tuple[Example, ...]]):
    """`conversations[7]` is an `Example`; `conversations[(3, 7)]` is a tuple of them, a packed row.

    Args:
        records: the records, see `read`.
        labeller: makes ids and labels.
        measure: lengths of the same records: a stand-in is a record that is trained on and no
            longer than the one whose place it takes, and records that are too long are cut, if the
            measure was made with `overflow="cut"`.
        cache: gives the encoder's features instead of pictures.
        namer: gives what the pictures show, by their names in the records.
        replaced_file: a file of JSON lines to which any process writes the records that were
            replaced.
        strict: raise an error instead of replacing a record.
    """

    def __init__(
        self,
        records: Records,
        labeller: Labeller,
        *,
        measure: Measure | None = None,
        cache: FeatureCache | None = None,
        namer: Namer | None = None,
        replaced_file: str | Path | None = None,
        strict: bool = False,
    ) -> None:
        self.records, self.labeller, self.measure = records, labeller, measure
        self.cache, self.namer, self.strict = cache, namer, strict
        self.replaced_file = Path(replaced_file) if replaced_file else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int | tuple[int, ...]) -> Example | tuple[Example, ...]:
        """One example, or those of a packed row.

        Raises:
            PictureError: If `strict` and a picture cannot be decoded.
            RecordError: If `strict` and a record cannot be labelled.
            ValueError: If no record of the source can stand in.
        """
        if isinstance(row, tuple):
            return tuple(self._example(index) for index in row)
        return self._example(row)

    def _example(self, index: int) -> Example:
        source = self.records.source_of(index)
        size = source.stop - source.start
        for offset in range(size):
            candidate = source.start + (index - source.start + offset) % size
            if offset and not self._may_stand_in(candidate, index):
                continue
            record = self.records[candidate]
            try:
                return self._labelled(record, candidate)
            except (PictureError, RecordError) as error:
                if self.strict:
                    raise
                self._note_replaced(candidate, record, str(error))
        raise ValueError(
            f"record {index} of {source.name} cannot be read, "
            "and no other of its source can stand in for it"
        )

    def _labelled(self, record: Record, index: int) -> Example:
        """A record as an example, cut where the measure says so."""
        ids, labels, blocks = self.labeller.row(record.turns)
        if self.measure is None or not self.measure.cut[index]:
            return Example(
                ids,
                labels,
                self._pictures(record.images),
                blocks=tuple(blocks),
                objects=self._objects(record.images),
            )
        limit = self.measure.limit
        assert limit is not None
        image_tokens = self.measure.image_tokens_of(index)
        length, left = cut_row(
            ids, image_tokens, placeholder=self.labeller.placeholder, limit=limit
        )
        pictures = self._pictures(record.images[: len(left)])
        is_partial = left != tuple(image_tokens[: len(left)])
        limits = (*[None] * (len(left) - 1), left[-1]) if is_partial else ()
        return Example(
            ids[:length],
            labels[:length],
            pictures,
            limits=limits,
            is_cut=True,
            blocks=tuple(blocks[:length]),
            objects=self._objects(record.images[: len(left)]),
        )

    def _may_stand_in(self, candidate: int, index: int) -> bool:
        if self.measure is None:
            return True
        lengths = self.measure.lengths
        return bool(self.measure.keep[candidate] and lengths[candidate] <= lengths[index])

    def _pictures(self, images: Sequence[str]) -> tuple[Picture | PatchGrid, ...]:
        if self.cache is not None:
            return tuple(self.cache.views(images))
        return tuple(open_picture(image) for image in images)

    def _objects(self, images: Sequence[str]) -> tuple[ObjectWords | None, ...]:
        return () if self.namer is None else tuple(map(self.namer, images))

    def _note_replaced(self, index: int, record: Record, reason: str) -> None:
        _LOG.warning("record %s is replaced by the next that fits: %s", record.id, reason)
        if self.replaced_file is not None:
            line = json.dumps({"index": index, "id": record.id, "reason": reason}) + "\n"
            file = os.open(self.replaced_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, line.encode())  # one write: lines of several processes do not mix
            finally:
                os.close(file)


def read_replaced(path: str | Path) -> dict[int, str]:
    """The reasons of replaced records by index, from the file that `Conversations` wrote.

    A record that came up in several epochs counts once; without a file there are none.
    """
    if not Path(path).is_file():
        return {}
    rows = [parse_json(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {row["index"]: row["reason"] for row in rows}

"""Examples -> one batch: right padding, one placeholder a picture, pictures in one flat list;
packed rows carry their segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.model.splice import IGNORE


@dataclass(frozen=True, eq=False)
class Example:
    """One conversation, ready to be batched.

    Attributes:
        input_ids: one placeholder a picture.
        labels: as many; `IGNORE` where nothing is supervised.
        pictures: decoded, or the encoder's answers out of a cache (of tiles all views); in the
            order of their placeholders.
        regions: steps in place of the model's own, "" for no masks; None: its own.
    """

    input_ids: list[int]
    labels: list[int]
    pictures: tuple[Picture | PatchGrid, ...] = ()
    regions: str | None = None


@dataclass(frozen=True)
class Collator:
    """`collator(examples)` -> what `RegionVLM.forward` takes. A tuple of examples is one packed
    row.

    Attributes:
        placeholder: the id that stands for a picture.
        pad: what fills rows; nothing ever attends to it.

    >>> batch = Collator(placeholder=9)([Example([1, 5], [IGNORE, 5]), Example([1], [IGNORE])])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), sorted(batch)
    ([[1, 5], [1, 0]], [[1, 1], [1, 0]], ['attention_mask', 'input_ids', 'labels', 'pictures'])
    """

    placeholder: int
    pad: int = 0

    @classmethod
    def of(cls, tokenizer: Any, placeholder: int) -> Collator:
        """With the tokenizer's padding (or end) id."""
        ids = (tokenizer.pad_token_id, tokenizer.eos_token_id)
        return cls(
            placeholder,
            next((number for number in ids if number is not None and number != placeholder), 0),
        )

    def __call__(self, examples: Sequence[Example | Sequence[Example]]) -> dict[str, Any]:
        """`input_ids`, `attention_mask`, `labels` `[b l]`, `pictures` (flat), `segments` `[b l]` if
        rows are packed, and `regions` of each picture if some example has its own.

        Raises:
            ValueError: an example with another number of placeholders than of pictures, or of
                labels than of ids.
        """
        packed = any(not isinstance(example, Example) for example in examples)
        rows = [(row,) if isinstance(row, Example) else tuple(row) for row in examples]
        longest = max((sum(len(example.input_ids) for example in row) for row in rows), default=0)
        batch: dict[str, Any] = {
            "input_ids": torch.full((len(rows), longest), self.pad),
            "attention_mask": torch.zeros(len(rows), longest, dtype=torch.int64),
            "labels": torch.full((len(rows), longest), IGNORE),
            "segments": torch.full((len(rows), longest), -1),
        }
        for place, row in enumerate(rows):
            start = 0
            for number, example in enumerate(row):
                self._check(example)
                own = slice(start, start + len(example.input_ids))
                batch["input_ids"][place, own] = torch.tensor(example.input_ids)
                batch["labels"][place, own] = torch.tensor(example.labels)
                batch["labels"][place, own.start] = (
                    IGNORE  # the sample before must not be trained to predict this one
                )
                batch["attention_mask"][place, own] = 1
                batch["segments"][place, own] = number
                start = own.stop
        if not packed:
            del batch["segments"]
        every = [example for row in rows for example in row]
        if any(example.regions is not None for example in every):
            batch["regions"] = [
                example.regions
                for example in every
                for _ in range(example.input_ids.count(self.placeholder))
            ]
        return {**batch, "pictures": [picture for example in every for picture in example.pictures]}

    def _check(self, example: Example) -> None:
        stand = example.input_ids.count(self.placeholder)
        given = sum(
            not isinstance(picture, PatchGrid) or picture.view == 0 for picture in example.pictures
        )
        if stand != given:
            raise ValueError(
                f"an example has {stand} placeholders (id {self.placeholder}) and {given} pictures"
            )
        if len(example.labels) != len(example.input_ids) or not example.input_ids:
            raise ValueError(
                f"an example needs as many labels as ids: {len(example.labels)} for {len(example.input_ids)}"
            )

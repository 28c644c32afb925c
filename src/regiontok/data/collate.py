"""Examples as one batch: padded on the right, one placeholder a picture, pictures in one flat list.

Packed rows carry their segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.data.blocks import SHARED
from regiontok.model.naming import ObjectWords
from regiontok.model.splice import IGNORE


@dataclass(frozen=True, eq=False)
class Example:
    """One conversation, ready to be batched.

    Attributes:
        input_ids: ids of the text, with one placeholder a picture.
        labels: as many labels; `IGNORE` where nothing is supervised.
        pictures: decoded pictures, or their features out of a cache (of tiles, all views), in the
            order of their placeholders.
        regions: steps in place of the model's own ("" for every patch without masks); None takes
            the model's own.
        limits: most visual tokens of each picture, None for all of them; empty if no picture of the
            conversation is cut.
        is_cut: True if the end of the conversation is lost.
        blocks: the block of each id, of questions that do not see each other; see
            `regiontok.data.blocks`. Empty for one conversation.
        objects: what each picture shows, None where that is not known; empty if nothing is named.
    """

    input_ids: list[int]
    labels: list[int]
    pictures: tuple[Picture | PatchGrid, ...] = ()
    regions: str | None = None
    limits: tuple[int | None, ...] = ()
    is_cut: bool = False
    blocks: tuple[int, ...] = ()
    objects: tuple[ObjectWords | None, ...] = ()


@dataclass(frozen=True)
class Collator:
    """`collator(examples)` gives what `RegionVLM.forward` takes.

    A tuple of examples is one packed row.

    Attributes:
        placeholder: the id that stands for a picture.
        pad: the id that fills rows; nothing ever attends to it.

    >>> batch = Collator(placeholder=9)([Example([1, 5], [IGNORE, 5]), Example([1], [IGNORE])])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), sorted(batch)
    ([[1, 5], [1, 0]], [[1, 1], [1, 0]], ['attention_mask', 'input_ids', 'labels', 'pictures'])
    """

    placeholder: int
    pad: int = 0

    @classmethod
    def of(cls, tokenizer: Any, placeholder: int) -> Collator:
        """A collator that pads with the tokenizer's padding (or end) id."""
        ids = (tokenizer.pad_token_id, tokenizer.eos_token_id)
        usable = (number for number in ids if number is not None and number != placeholder)
        return cls(placeholder, next(usable, 0))

    def __call__(self, examples: Sequence[Example | Sequence[Example]]) -> dict[str, Any]:
        """Batch examples, or packed rows of them.

        Returns:
            `input_ids`, `attention_mask` and `labels` `[b l]`, and `pictures` (flat); `segments`
            `[b l]` if rows are packed or have blocks, and `blocks` `[b l]` if they have; `regions`
            of each picture if some example names its own, `limits` of each picture if one is cut,
            and `objects` of each picture if they are named.

        Raises:
            ValueError: If an example has another number of placeholders than of pictures, or of
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
            "blocks": torch.full((len(rows), longest), SHARED),
        }
        for row_index, row in enumerate(rows):
            self._write_row(batch, row_index, row)
        flat = [example for row in rows for example in row]
        if not (has_blocks := any(example.blocks for example in flat)):
            del batch["blocks"]
        if not packed and not has_blocks:
            del batch["segments"]
        if any(example.regions is not None for example in flat):
            batch["regions"] = [
                example.regions
                for example in flat
                for _ in range(example.input_ids.count(self.placeholder))
            ]
        if any(example.limits for example in flat):
            batch["limits"] = [
                limit
                for example in flat
                for limit in example.limits or [None] * example.input_ids.count(self.placeholder)
            ]
        if any(example.objects for example in flat):
            batch["objects"] = [item for example in flat for item in example.objects]
        batch["pictures"] = [picture for example in flat for picture in example.pictures]
        return batch

    def _write_row(self, batch: dict[str, Any], row_index: int, row: tuple[Example, ...]) -> None:
        start = 0
        for segment, example in enumerate(row):
            self._check(example)
            span = slice(start, start + len(example.input_ids))
            batch["input_ids"][row_index, span] = torch.tensor(example.input_ids)
            batch["labels"][row_index, span] = torch.tensor(example.labels)
            # the sample in front of this one must not be trained to predict its first id
            batch["labels"][row_index, start] = IGNORE
            batch["attention_mask"][row_index, span] = 1
            batch["segments"][row_index, span] = segment
            if example.blocks:
                batch["blocks"][row_index, span] = torch.tensor(example.blocks)
            start = span.stop

    def _check(self, example: Example) -> None:
        placeholders = example.input_ids.count(self.placeholder)
        pictures = sum(
            not isinstance(picture, PatchGrid) or picture.view == 0 for picture in example.pictures
        )
        if placeholders != pictures:
            raise ValueError(
                f"an example has {placeholders} placeholders (id {self.placeholder}) "
                f"and {pictures} pictures"
            )
        if example.blocks and len(example.blocks) != len(example.input_ids):
            raise ValueError(
                f"an example has {len(example.input_ids)} ids and {len(example.blocks)} blocks"
            )
        if len(example.labels) != len(example.input_ids) or not example.input_ids:
            raise ValueError(
                "an example needs as many labels as ids: "
                f"{len(example.labels)} for {len(example.input_ids)}"
            )

"""What one stage is fed: its records, measured; which are held out; and the order, a function of
the step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.picture import PictureError
from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Collator, Example
from regiontok.data.conversations import Conversations
from regiontok.data.labels import Labeller
from regiontok.data.lengths import Measure, measure
from regiontok.data.mask_free import LargestVisualTokens, MaskFree
from regiontok.data.records import RecordError, Records, read, split
from regiontok.data.sampler import EpochOrder, Row, record_pools
from regiontok.settings.recipe import ModelSettings, Recipe, Stage

HELD_OUT = "held out for evaluation"


@dataclass(frozen=True)
class Feed:
    """A stage's samples.

    Attributes:
        dataset, collate: for a `DataLoader`.
        at: step -> the rows (record, or records of a packed row) of the whole optimiser step.
        steps: of the stage.
        held_out: the examples kept for evaluation, read anew; empty if none are.
        samples: records that are trained on.
        aside: reason -> records that are not.
        measure: true lengths of all records.
        longest: tokens of the longest row.
    """

    dataset: Conversations | MaskFree
    collate: Collator
    at: Callable[[int], list[Row]]
    steps: int
    held_out: Callable[[], list[Example]]
    samples: int
    aside: dict[str, int]
    measure: Measure
    longest: int

    def name(self, row: Row) -> str:
        """The ids of a row's records."""
        records = self.dataset.records
        return "+".join(
            records[index % len(records)].id
            for index in (row if isinstance(row, tuple) else (row,))
        )


def feed(
    recipe: Recipe,
    stage: Stage,
    *,
    tokenizer: Any,
    placeholder: int,
    held_out: int = 0,
    cache: str = "",
    folder: Path | None = None,
    device: str = "cpu",
) -> Feed:
    """Read and measure the records of a stage.

    Args:
        recipe, stage: what is trained.
        tokenizer: of the language model; `placeholder`: the id of a picture.
        held_out: records kept from training, drawn over all sources.
        cache: folder of frozen features; "" encodes afresh each time.
        folder: where measured lengths and replaced records are kept; None: nowhere.
        device: where pictures are encoded to be measured.

    Raises:
        ValueError: records that cannot be read; a sample longer than the stage takes, under
            overflow = "error"; features kept of an encoder that learns.
    """
    if cache and any("encoder" in one.train for one in recipe.stage):
        raise ValueError(
            "features of an encoder that is tuned cannot be kept: leave --cache out, or do not train the encoder"
        )
    records = read(stage.data)
    template = (
        (recipe.model or ModelSettings()).template if stage.template is None else stage.template
    )
    labeller = Labeller(tokenizer, template, placeholder=placeholder)
    visual = LargestVisualTokens.of(
        recipe.tokenizer, folder, device=device, mask_free=stage.mask_free > 0
    )
    found = measure(records, labeller, visual, max_length=stage.max_length, overflow=stage.overflow)
    train, held = split(records, held_out, seed=stage.seed)
    held = held[found.keep[held]]
    own = replace(
        found, reasons=found.reasons | dict.fromkeys(held.tolist(), HELD_OUT)
    )  # nor may one stand in for a bad record
    kept = FeatureCache(cache, recipe.tokenizer, device=device) if cache else None
    order = _order(records, own, stage, train)
    aside = folder / f"replaced_{stage.name}.jsonl" if folder else None
    longest = stage.max_length if stage.pack else int(own.lengths[own.keep].max())
    dataset = Conversations(records, labeller, measure=own, cache=kept, replaced_file=aside)
    mixed = MaskFree(dataset, stage.mask_free, seed=stage.seed)
    return Feed(
        dataset=mixed if stage.mask_free else dataset,
        collate=Collator.of(tokenizer, placeholder),
        at=partial(mixed.rows, order) if stage.mask_free else order.rows,
        steps=stage.steps or order.steps,
        held_out=lambda: _examples(Conversations(records, labeller, cache=kept, strict=True), held),
        samples=int(own.keep.sum()),
        aside=dict(Counter(own.reasons.values()) + records.counts),
        measure=own,
        longest=longest,
    )


def _order(records: Records, own: Measure, stage: Stage, train: np.ndarray) -> EpochOrder:
    if not own.keep[train].any():
        raise ValueError(
            f"stage {stage.name!r}: no record is left to train on after {len(own.reasons)} are set aside"
        )
    if not stage.epochs > 0 or not math.isfinite(stage.epochs):
        raise ValueError(f"stage {stage.name!r}: epochs is a positive number, not {stage.epochs}")
    return EpochOrder(
        record_pools(records, own.keep),
        batch=stage.batch,
        seed=stage.seed,
        lengths=own.lengths,
        group=stage.group_by_length,
        pack_to=stage.max_length if stage.pack else None,
        epochs=stage.epochs,
    )


def _examples(dataset: Conversations, indices: np.ndarray) -> list[Example]:
    """Those that can be read: a bad picture here is left out, and the number of examples says
    so."""
    found: list[Example] = []
    for index in indices.tolist():
        try:
            one = dataset[index]
            assert isinstance(one, Example)  # an index, not a packed row
            found.append(one)
        except (PictureError, RecordError):
            continue
    return found

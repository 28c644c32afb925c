"""What a stage is trained on: its records and their lengths, held-out ones, rows of each step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
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
from regiontok.data.naming import Namer
from regiontok.data.record import RecordError
from regiontok.data.records import Records, read, set_aside_notes, split
from regiontok.data.sampler import EpochOrder, Row, record_pools
from regiontok.model.visual import features_serve
from regiontok.settings.recipe import Recipe, Stage
from regiontok.train.build import (
    model_settings,
    stage_template,
    stage_tokenizer,
    tunes_encoder,
)

HELD_OUT = "held out for evaluation"
MEASURED = "measured"  # folder of lengths beside frozen features


@dataclass(frozen=True)
class StageData:
    """A stage's samples.

    Attributes:
        dataset: examples by row, for a `DataLoader`.
        collate: makes a batch of examples.
        rows_of_step: a function from a step to the rows of the whole optimiser step; a row is a
            record, or the records of a packed row.
        steps: optimiser steps of the stage.
        epoch_of_step: a function from a step to its epoch, from which seeded steps draw.
        chat_template: the template of the stage as jinja text, by which the model is asked later.
        held_out: a function that reads the examples kept for evaluation anew.
        samples: how many records are trained on.
        set_aside: how many records are not, by reason.
        notes: what is to be said of the records that are set aside, the first of each reason named.
        measure: true lengths of all records.
        longest: tokens of the longest row.
    """

    dataset: Conversations | MaskFree
    collate: Collator
    rows_of_step: Callable[[int], list[Row]]
    steps: int
    epoch_of_step: Callable[[int], int]
    chat_template: str
    held_out: Callable[[], list[Example]]
    samples: int
    set_aside: dict[str, int]
    notes: list[str]
    measure: Measure
    longest: int

    def row_name(self, row: Row) -> str:
        """The ids of a row's records, for messages."""
        records = self.dataset.records
        indices = row if isinstance(row, tuple) else (row,)
        return "+".join(records[index % len(records)].id for index in indices)


def load_stage_data(
    recipe: Recipe,
    stage: Stage,
    *,
    tokenizer: Any,
    placeholder: int,
    held_out: int = 0,
    cache: str = "",
    folder: Path | None = None,
    device: str = "cpu",
) -> StageData:
    """Read and measure the records of a stage.

    Args:
        recipe: the recipe, whose region tokenizer decides the number of visual tokens.
        stage: the stage, which names its records.
        tokenizer: the language model's tokenizer.
        placeholder: the id that stands for a picture.
        held_out: how many records are kept from training, drawn over all sources.
        cache: folder of frozen features; "" encodes afresh each time.
        folder: where measured lengths and replaced records are noted; None notes them nowhere.
        device: where pictures are encoded to be measured.

    Raises:
        ValueError: If records cannot be read, a sample is longer than the stage takes under
            overflow = "error", or a cache is named although the encoder learns.
    """
    if cache and tunes_encoder(recipe):
        raise ValueError(
            "features of an encoder that is tuned cannot be kept: "
            "leave --cache out, or do not train the encoder"
        )
    records = read(stage.data)
    labeller = Labeller(
        tokenizer,
        stage_template(recipe, stage),
        placeholder=placeholder,
        independent=stage.turns == "independent",
    )
    settings = stage_tokenizer(recipe, stage)
    features = FeatureCache(cache, settings, device=device) if cache else None
    visual = LargestVisualTokens.of(
        settings,
        Path(cache) / MEASURED if cache else folder,  # runs that share features share lengths
        device=device,
        mask_free=stage.mask_free > 0,
        connector=model_settings(recipe).connector,
        features=features,
    )
    measured = measure(
        records, labeller, visual, max_length=stage.max_length, overflow=stage.overflow
    )
    train_indices, held_indices = split(records, held_out, seed=stage.seed)
    held_indices = held_indices[measured.keep[held_indices]]
    # set aside, so that a held-out record does not stand in for a bad one either
    reasons = measured.reasons | dict.fromkeys(held_indices.tolist(), HELD_OUT)
    measured = replace(measured, reasons=reasons)
    order = _order(records, measured, stage, train_indices)
    replaced = folder / f"replaced_{stage.name}.jsonl" if folder else None
    dataset = Conversations(
        records,
        labeller,
        measure=measured,
        cache=features,
        namer=Namer(tokenizer, stage.naming_places) if stage.naming else None,
        replaced_file=replaced,
    )
    mixed = MaskFree(dataset, stage.mask_free, seed=stage.seed)
    # answers may need other features than those of training, which alone are kept
    held_features = features if features_serve(recipe.answering, settings) else None
    strict = Conversations(records, labeller, measure=measured, cache=held_features, strict=True)
    return StageData(
        dataset=mixed if stage.mask_free else dataset,
        collate=Collator.of(tokenizer, placeholder),
        rows_of_step=partial(mixed.rows, order) if stage.mask_free else order.rows,
        steps=stage.steps or order.steps,
        epoch_of_step=lambda step: order.epoch_and_step(step)[0],
        chat_template=labeller.template.chat_template,
        held_out=partial(_readable_examples, strict, held_indices),
        samples=int(measured.keep.sum()),
        set_aside=dict(Counter(reasons.values()) + records.counts),
        notes=_notes(records, reasons),
        measure=measured,
        longest=stage.max_length if stage.pack else int(measured.lengths[measured.keep].max()),
    )


def _notes(records: Records, reasons: Mapping[int, str]) -> list[str]:
    """A line for each reason for which records are set aside, but for those held out."""
    measured = [
        records.as_set_aside(index, reason)
        for index, reason in sorted(reasons.items())
        if reason != HELD_OUT
    ]
    return set_aside_notes([*records.set_aside, *measured])


def _order(records: Records, measured: Measure, stage: Stage, train: np.ndarray) -> EpochOrder:
    """The order in which a stage meets its records.

    Args:
        records: all records.
        measured: their lengths, and which are set aside.
        stage: the stage.
        train: `[n]` indices of the records that are not held out.
    """
    if not measured.keep[train].any():
        raise ValueError(
            f"stage {stage.name!r}: no record is left to train on "
            f"after {len(measured.reasons)} are set aside"
        )
    if not stage.epochs > 0 or not math.isfinite(stage.epochs):
        raise ValueError(f"stage {stage.name!r}: epochs is a positive number, not {stage.epochs}")
    return EpochOrder(
        record_pools(records, measured.keep),
        batch=stage.batch,
        seed=stage.seed,
        lengths=measured.lengths,
        with_images=measured.with_images,
        group_by=stage.group_by,
        pack_to=stage.max_length if stage.pack else None,
        epochs=stage.epochs,
    )


def _readable_examples(dataset: Conversations, indices: np.ndarray) -> list[Example]:
    """The examples that can be read; the number of examples says if one is left out."""
    examples: list[Example] = []
    for index in indices.tolist():
        try:
            example = dataset[index]
        except (PictureError, RecordError):
            continue
        assert isinstance(example, Example)  # of an index, not of a packed row
        examples.append(example)
    return examples

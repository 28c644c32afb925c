"""The plan of a run before it runs: parameters, tokens, steps, memory and time on named hardware.

Records are read and some of them are measured; nothing is loaded or written.

After: nothing.
Differs: an estimate, by the formulas of `regiontok.train.estimate`. Records are checked for their
form, not for their image files (a `stat` each is minutes on a network disk).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from regiontok.data.labels import Labeller
from regiontok.data.lengths import Measure, measure
from regiontok.data.mask_free import LargestVisualTokens
from regiontok.data.records import RecordBuffer, Records, RecordSource, read, split
from regiontok.data.sampler import EpochOrder, record_pools
from regiontok.data.visual_tokens import NO_REGIONS
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Recipe, Stage
from regiontok.system.hardware import MFU, Hardware
from regiontok.train.assumed import assumed_samples
from regiontok.train.batching import Division, divide_batch
from regiontok.train.build import (
    check_stages,
    image_token_id,
    load_tokenizer,
    loads_bfloat16,
    meta_model,
    model_settings,
    stage_template,
    stage_tokenizer,
)
from regiontok.train.estimate import USABLE, Memory, most_samples, sample_operations, stage_memory
from regiontok.train.options import TrainOptions
from regiontok.train.parts import merge_lora, parameter_counts, set_trainable

# share of a packed row that samples fill: 98 % or more, see `regiontok.data.sampler`
FILLED = 0.98


@dataclass(frozen=True)
class StagePlan:
    """What one stage will be.

    Attributes:
        name: the stage's name.
        parts: part -> (parameters that learn, all its parameters).
        samples: records of an epoch.
        set_aside: how many records are not trained on, by reason.
        cut: share of the measured samples that are cut at the stage's longest length.
        measured: how many samples were measured.
        without_masks: how many different pictures of them have no mask at all, though masks are
            read.
        tokens: least, quartiles, 95 %, most and mean of the measured samples' tokens, visual ones
            included.
        visual: mean number of visual tokens of a sample.
        without_regions: share of the measured samples with pictures whose regions cannot be made,
            say because a budget asks for more regions than there are; they are set aside.
        steps: optimiser steps.
        division: how a step's batch is divided.
        memory: bytes on one device without gradient checkpointing.
        checkpointed: bytes on one device with it.
        uses: which of the two the stage takes, "memory" or "checkpointed".
        fits: whether that is below nine tenths of the device's memory.
        hours: duration on the hardware.
        assumed: what was assumed of data and models that are not here, in words.
    """

    name: str
    parts: dict[str, tuple[int, int]]
    samples: int
    set_aside: dict[str, int]
    cut: float
    measured: int
    without_masks: int
    tokens: dict[str, float]
    visual: float
    without_regions: float
    steps: int
    division: Division
    memory: Memory
    checkpointed: Memory
    uses: str
    fits: bool
    hours: float
    assumed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values for JSON, with the sums of both memories."""
        totals = {"total": self.memory.total, "total_checkpointed": self.checkpointed.total}
        return {**asdict(self), **totals, "batch": self.division.batch}


def plan_run(
    recipe: Recipe, options: TrainOptions, hardware: Hardware, *, samples: int = 256
) -> list[StagePlan]:
    """The plan of every stage.

    Of data and models that are not here the published sizes are taken, and named in the plan.

    Args:
        recipe: the recipe as it would train.
        options: the options as it would train; `shard` divides weights, gradients and optimiser
            among the devices.
        hardware: what it would run on.
        samples: records measured for a stage, drawn evenly over all; with at least as many as there
            are the steps are exact.

    Raises:
        ValueError: If the recipe cannot be trained, or records cannot be read.
    """
    check_stages(recipe)
    model = meta_model(recipe)
    tokenizer = cache(lambda: load_tokenizer(model_settings(recipe)))
    half = loads_bfloat16(recipe, cuda=True)
    plans = []
    for stage in recipe.stage:
        assumed = assumed_samples(recipe, stage)
        if assumed:
            records, measured = assumed.records, assumed.measure
        else:
            labeller = Labeller(
                tokenizer(),
                stage_template(recipe, stage),
                placeholder=image_token_id(tokenizer()),
                independent=stage.turns == "independent",
            )
            records = read(stage.data, check_images=False)
            measured = measure(
                _evenly_spaced(records, samples),
                labeller,
                # an upper bound where only some samples go without masks
                LargestVisualTokens.of(
                    stage_tokenizer(recipe, stage),
                    mask_free=stage.mask_free > 0,
                    connector=model_settings(recipe).connector,
                ),
                max_length=stage.max_length,
                overflow=stage.overflow,
            )
        model = set_trainable(model, stage)
        plan = _plan_stage(
            model,
            stage,
            records=records,
            measured=measured,
            options=options,
            hardware=hardware,
            half=half,
        )
        plans.append(replace(plan, measured=0, assumed=assumed.notes) if assumed else plan)
        model = merge_lora(model)
    return plans


def _plan_stage(
    model: RegionVLM,
    stage: Stage,
    *,
    records: Records,
    measured: Measure,
    options: TrainOptions,
    hardware: Hardware,
    half: bool,
) -> StagePlan:
    """The plan of one stage.

    Args:
        model: a model on the meta device whose trainable parts are set.
        stage: the stage.
        records: all of its records.
        measured: the lengths of some of them.
        options: the options as it would train.
        hardware: what it would run on.
        half: whether frozen weights are in bfloat16.
    """
    lengths = measured.lengths[measured.keep]
    row = stage.max_length if stage.pack else int(lengths.max())
    shards = hardware.devices if options.shard else 1
    fit = most_samples(model, stage, row=row, memory=hardware.memory, half=half, devices=shards)
    division = divide_batch(
        stage.batch, processes=hardware.devices, most_per_device=options.per_device or fit
    )
    plain, checkpointed = (
        stage_memory(
            model,
            stage,
            division.per_device * row,
            half=half,
            devices=shards,
            checkpointing=checkpointing,
        )
        for checkpointing in (False, True)
    )
    used = checkpointed if stage.checkpointing else plain
    steps = _steps(records, stage, measured, options.held_out)
    return StagePlan(
        name=stage.name,
        parts=parameter_counts(model),
        samples=len(records) - options.held_out,
        set_aside=dict(Counter(measured.reasons.values()) + records.counts),
        cut=float(measured.cut[measured.keep].mean()),
        measured=len(lengths),
        without_masks=measured.images_without_masks,
        tokens=spread(lengths),
        visual=float(measured.visual[measured.keep].mean()),
        without_regions=_share_without_regions(measured),
        steps=steps,
        division=division,
        memory=plain,
        checkpointed=checkpointed,
        uses="checkpointed" if stage.checkpointing else "memory",
        fits=used.total < USABLE * hardware.memory,
        hours=_hours(model, stage, hardware, steps=steps, row=row, mean=float(lengths.mean())),
    )


def _share_without_regions(measured: Measure) -> float:
    failing = sum(reason.startswith(NO_REGIONS) for reason in measured.reasons.values())
    return failing / max(int(measured.with_images.sum()), 1)


def _hours(
    model: RegionVLM, stage: Stage, hardware: Hardware, *, steps: int, row: int, mean: float
) -> float:
    """Duration of a stage.

    Args:
        model: a model on the meta device whose trainable parts are set.
        stage: the stage.
        hardware: what it would run on.
        steps: optimiser steps.
        row: tokens of the longest row, or of a packed one.
        mean: mean tokens of a sample.
    """
    samples = steps * stage.batch * (row / mean if stage.pack else 1.0)
    peak = hardware.peak if stage.precision == "bf16" else hardware.peak / 2  # TF32
    operations = samples * sample_operations(model, stage, mean)
    return operations / (hardware.devices * peak * MFU) / 3600


def spread(lengths: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Least, quartiles, 95 %, most and mean.

    >>> spread([1, 2, 3, 4, 5])["median"], spread([1, 2, 3, 4, 5])["most"]
    (3.0, 5.0)
    """
    values = np.asarray(lengths, dtype=np.float64)
    percentiles = {
        "least": 0,
        "quarter": 25,
        "median": 50,
        "three_quarters": 75,
        "p95": 95,
        "most": 100,
    }
    return {
        **{name: float(np.percentile(values, percent)) for name, percent in percentiles.items()},
        "mean": float(values.mean()),
    }


def _steps(records: Records, stage: Stage, measured: Measure, held_out: int) -> int:
    """Optimiser steps of a stage; an estimate where rows are packed or not all are measured."""
    if stage.steps:
        return stage.steps
    train, _ = split(records, held_out, seed=stage.seed)
    if not stage.pack:
        grouping: dict[str, Any] = {}
        if len(measured.keep) == len(records):
            train = train[measured.keep[train]]
            if stage.group_by == "modality":
                grouping = {"group_by": "modality", "with_images": measured.with_images}
        pools = record_pools(records, train)
        return EpochOrder(pools, batch=stage.batch, epochs=stage.epochs, **grouping).steps
    samples = sum(pool.size for pool in record_pools(records, train))
    mean_length = measured.lengths[measured.keep].mean()
    rows = samples * mean_length / stage.max_length / FILLED
    return int(np.ceil(stage.epochs * np.ceil(rows / stage.batch)))


def _evenly_spaced(records: Records, count: int) -> Records:
    """So many records, evenly spaced over all sources, as one source."""
    if count >= len(records):
        return records
    indices = np.linspace(0, len(records) - 1, count).astype(int).tolist()
    rows = RecordBuffer([records[index] for index in indices])
    return Records([rows], [RecordSource("sampled", 1.0, 0, count)], [])

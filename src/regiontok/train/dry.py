"""The plan of a run: every stage's records read, some of them measured, the model sketched; nothing
loaded, nothing written.

After: nothing.
Differs: records are checked for their form, not for their image files (a `stat` each is minutes on
a network disk).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from regiontok.data.labels import Labeller
from regiontok.data.lengths import measure
from regiontok.data.mask_free import LargestVisualTokens
from regiontok.data.records import RecordBuffer, Records, RecordSource, read, split
from regiontok.data.sampler import EpochOrder, record_pools
from regiontok.settings.recipe import ModelSettings, Recipe, Stage
from regiontok.system.hardware import Hardware
from regiontok.train.batching import divide
from regiontok.train.build import (
    choose,
    is_half,
    merged,
    placeholder_of,
    settings_of,
    sketch,
    tokenizer_for,
)
from regiontok.train.options import Options
from regiontok.train.plan import StagePlan, most_samples, plan_stage


def plan_run(
    recipe: Recipe, options: Options, on: Hardware, *, sharded: bool = False, samples: int = 256
) -> list[StagePlan]:
    """The plan of every stage.

    Args:
        recipe, options: as they would train.
        on: the hardware.
        sharded: weights, gradients and optimiser state are divided among the devices (FSDP2,
            ZeRO-3).
        samples: records measured a stage (drawn evenly over all); at least as many as there are:
            all, and the steps are exact.

    Raises:
        ValueError: a recipe that cannot be trained, records that cannot be read.
    """
    settings = settings_of(recipe)
    model, tokenizer = sketch(recipe), tokenizer_for(settings)
    # an upper bound where only some samples, or some stages, go without masks
    visual = LargestVisualTokens.of(
        recipe.tokenizer, mask_free=any(stage.mask_free for stage in recipe.stage)
    )
    half = is_half(recipe, cuda=True)
    plans = []
    for stage in recipe.stage:
        template = (
            (recipe.model or ModelSettings()).template if stage.template is None else stage.template
        )
        labeller = Labeller(tokenizer, template, placeholder=placeholder_of(tokenizer))
        records = read(stage.data, check_images=False)
        some = _some(records, samples)
        found = measure(
            some, labeller, visual, max_length=stage.max_length, overflow=stage.overflow
        )
        lengths = found.lengths[found.keep]
        model = choose(model, stage)
        row = stage.max_length if stage.pack else int(lengths.max())
        shards = on.devices if sharded else 1
        fit = most_samples(model, stage, row=row, memory_bytes=on.memory, half=half, shards=shards)
        plans.append(
            plan_stage(
                model,
                stage,
                samples=len(records) - options.held_out,
                aside=dict(Counter(found.reasons.values()) + records.counts),
                lengths=lengths,
                visual=found.visual[found.keep],
                steps=_steps(records, stage, lengths, found.keep, options.held_out),
                division=divide(stage.batch, world=on.devices, largest=options.per_device or fit),
                on=on,
                half=half,
                sharded=sharded,
            )
        )
        model = merged(model)
    return plans


def _steps(
    records: Records, stage: Stage, lengths: np.ndarray, keep: np.ndarray, held_out: int
) -> int:
    if stage.steps:
        return stage.steps
    train, _ = split(records, held_out, seed=stage.seed)
    if not stage.pack:
        kept = train[keep[train]] if len(keep) == len(records) else train
        return EpochOrder(record_pools(records, kept), batch=stage.batch, epochs=stage.epochs).steps
    drawn = sum(
        pool.size for pool in record_pools(records, train)
    )  # rows are 98 % full or more: see data/sampler.py
    return int(
        np.ceil(
            stage.epochs * np.ceil(drawn * lengths.mean() / stage.max_length / 0.98 / stage.batch)
        )
    )


def _some(records: Records, count: int) -> Records:
    """Evenly spaced records of all sources, as one source."""
    if count >= len(records):
        return records
    places = np.linspace(0, len(records) - 1, count).astype(int).tolist()
    return Records(
        [RecordBuffer([records[place] for place in places])],
        [RecordSource("sampled", 1.0, 0, len(places))],
        [],
    )

"""What a training run will be, before it runs: parameters by part, tokens a sample, steps, memory
and time on named hardware.

After: nothing; the formulas are the usual ones, written out below.
Differs: an estimate. Weights are never loaded (the model stands on torch's meta device); the frozen
encoder, the data loader and the allocator's waste are not in it.

Memory of one device, in bytes (P parameters of the part, L of them learning; T tokens of one pass;
    b bytes a number, 2 under bf16): weights     4 L + b' (P - L), b' = 2 where every stage leaves
    the language model frozen or adapted under bf16, else 4 gradients   4 L
    optimiser   8 L (AdamW: two moments in float32)
    activations T (layers * layer + logits), with
        layer   b (6 h + 3 q + 3 kv + 4 f) + 8 h     h width, q and kv widths of queries and of
        keys, f feed-forward layer   b h with checkpointing, and one whole layer once
        logits  (b + 8) c                             c vocabulary; the loss is computed in float32
Divided among the devices by FSDP2 or ZeRO-3: weights, gradients and optimiser, not activations.
Time: operations a token = 2 N forward, 2 N backward through it, 2 L for the learning weights' own
gradient, 2 N more with checkpointing (N parameters of the language model without its input
embedding), and attention's 2 s q layers forward, twice that backward, at s tokens; over devices *
peak * `hardware.MFU`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from regiontok.settings.recipe import Stage
from regiontok.system.hardware import MFU, Hardware
from regiontok.train.batching import Division
from regiontok.train.build import counts


@dataclass(frozen=True)
class Shape:
    """A language model's sizes: what formulas need."""

    layers: int
    width: int
    queries: int
    keys: int
    feed: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a transformers config.

        >>> from transformers import LlamaConfig
        >>> Shape.of(LlamaConfig())
        Shape(layers=32, width=4096, queries=4096, keys=4096, feed=11008, vocabulary=32000)
        """
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        keys = (getattr(config, "num_key_value_heads", None) or heads) * head
        feed = config.intermediate_size
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            heads * head,
            keys,
            feed,
            config.vocab_size,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.activations


@dataclass(frozen=True)
class StagePlan:
    """What one stage will be.

    Attributes:
        parts: part -> (parameters that learn, all).
        samples: records of an epoch; `aside`: reason -> records that are not trained on.
        tokens: lowest, quartiles, 95 %, highest of `measured` samples, visual tokens counted;
            `visual`: their mean number a sample.
        longest: True if every sample was measured.
        steps: of the optimiser.
        memory, checkpointed: of one device without and with gradient checkpointing; `uses`: which
            of them the stage takes.
        hours: on the hardware.
    """

    name: str
    parts: dict[str, tuple[int, int]]
    samples: int
    aside: dict[str, int]
    measured: int
    tokens: dict[str, float]
    visual: float
    steps: int
    division: Division
    memory: Memory
    checkpointed: Memory
    uses: str
    fits: bool
    hours: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        totals = {"total": self.memory.total, "total_checkpointed": self.checkpointed.total}
        return {**asdict(self), **totals, "batch": self.division.batch}


def activations(shape: Shape, tokens: int, *, width: int, checkpointing: bool) -> float:
    """Bytes that a pass over `tokens` keeps for the backward one; `width` bytes a number. See the
    module."""
    layer = (
        width * (6 * shape.width + 3 * shape.queries + 3 * shape.keys + 4 * shape.feed)
        + 8 * shape.width
    )
    logits = (width + 8) * shape.vocabulary
    layers = shape.layers * width * shape.width + layer if checkpointing else shape.layers * layer
    return float(tokens) * (layers + logits)


def memory(
    model: nn.Module,
    stage: Stage,
    tokens: int,
    *,
    half: bool,
    shards: int = 1,
    checkpointing: bool = False,
) -> Memory:
    """Of one device; `half`: frozen weights are bfloat16; `shards`: devices that weights, gradients
    and optimiser are divided among."""
    held = counts(model)
    learn, whole = (sum(pair[at] for pair in held.values()) for at in (0, 1))
    width = 2 if stage.precision == "bf16" else 4
    return Memory(
        weights=(4 * learn + (2 if half else 4) * (whole - learn)) / shards,
        gradients=4 * learn / shards,
        optimiser=8 * learn / shards,
        activations=activations(shape_of(model), tokens, width=width, checkpointing=checkpointing),
    )


def shape_of(model: Any) -> Shape:
    """Of a `RegionVLM`'s language model."""
    return Shape.of(model.config.text_config.get_text_config())


def operations(model: nn.Module, stage: Stage, tokens: float) -> float:
    """Floating-point operations of training on one sample of `tokens` tokens."""
    held, shape = counts(model), shape_of(model)
    own = held["language_model"][1] - shape.vocabulary * shape.width
    if model.config.text_config.tie_word_embeddings:  # type: ignore[union-attr]
        own += shape.vocabulary * shape.width  # one matrix, and it is multiplied by at the end
    learn = sum(pair[0] for pair in held.values())
    attention = 2 * tokens * shape.queries * shape.layers
    forward = 2 * own + attention
    return tokens * (
        forward * (3 if stage.checkpointing else 2)
        + attention
        + 2 * min(learn, own + held["connector"][1])
    )


def spread(lengths: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Lowest, quartiles, 95 %, highest and mean.

    >>> spread([1, 2, 3, 4, 5])["median"], spread([1, 2, 3, 4, 5])["most"]
    (3.0, 5.0)
    """
    values = np.asarray(lengths, dtype=np.float64)
    names = {"least": 0, "quarter": 25, "median": 50, "three_quarters": 75, "p95": 95, "most": 100}
    return {
        **{name: float(np.percentile(values, at)) for name, at in names.items()},
        "mean": float(values.mean()),
    }


def plan_stage(
    model: nn.Module,
    stage: Stage,
    *,
    samples: int,
    aside: dict[str, int],
    lengths: np.ndarray,
    visual: np.ndarray,
    steps: int,
    division: Division,
    on: Hardware,
    half: bool,
    sharded: bool = False,
) -> StagePlan:
    """The plan of one stage for a model (on the meta device, parts chosen).

    Args:
        model, stage: as they will train.
        samples: records of an epoch; aside: reasons and counts.
        lengths, visual: `[n]` tokens and visual tokens of the samples that were looked at.
        steps: of the optimiser.
        division: of the batch; `on`, `half`, `sharded`: see `memory`.
    """
    row = stage.max_length if stage.pack else min(stage.max_length, int(np.max(lengths)))
    tokens = division.each * row
    shards = division.world if sharded else 1
    both = [
        memory(model, stage, tokens, half=half, shards=shards, checkpointing=on_off)
        for on_off in (False, True)
    ]
    taken = both[stage.checkpointing]
    mean = float(np.mean(lengths))
    per_step = stage.batch * (row / mean if stage.pack else 1.0)
    work = steps * per_step * operations(model, stage, mean)
    peak = on.peak if stage.precision == "bf16" else on.peak / 2  # TF32
    return StagePlan(
        name=stage.name,
        parts=counts(model),
        samples=samples,
        aside=aside,
        measured=len(lengths),
        tokens=spread(lengths),
        visual=float(np.mean(visual)),
        steps=steps,
        division=division,
        memory=both[0],
        checkpointed=both[1],
        uses="checkpointed" if stage.checkpointing else "memory",
        fits=taken.total < 0.9 * on.memory,
        hours=work / (division.world * peak * MFU) / 3600,
    )


def most_samples(
    model: nn.Module, stage: Stage, *, row: int, memory_bytes: float, half: bool, shards: int = 1
) -> int:
    """Samples (or packed rows) of `row` tokens whose pass fits into 90 % of a device; at least
    1."""
    fixed = memory(model, stage, 0, half=half, shards=shards).total
    one = memory(
        model, stage, row, half=half, shards=shards, checkpointing=stage.checkpointing
    ).activations
    return max(1, int((0.9 * memory_bytes - fixed) // one))

"""Estimates of what training takes: bytes of memory and operations, from formulas.

After: nothing; the formulas are the usual ones, written out below.
Differs: an estimate. Weights are never loaded (the model is on torch's meta device); the frozen
encoder, the data loader and the allocator's waste are not counted.

Bytes of memory on one device, for P parameters of which L learn, T tokens of one pass and b bytes a
number (2 under bf16)::

    weights      4 L + b' (P - L), where b' is 2 if every stage leaves the language model frozen or
                 adapted under bf16, else 4
    gradients    4 L
    optimiser    8 L                                  AdamW: two moments in float32
    activations  T (layers * layer + logits), with
      layer      b (6 h + 3 q + 3 k + 4 f) + 8 h      h width, q and k widths of all queries and of
                                                      all keys, f width of the feed-forward layer;
                                                      with checkpointing b h, and one layer in full
      logits     (b + 8) c                            c vocabulary; the loss is in float32

FSDP2 and ZeRO-3 divide weights, gradients and optimiser among the devices, not activations.

Operations of one token, for N parameters of the language model without its input embedding, in rows
of s tokens::

    forward    2 N + 2 s q layers         the second term is attention
    backward   2 N + 4 s q layers + 2 L   through the layers, and the gradient of what learns
    again      the forward pass once more with checkpointing

Time is operations over (devices * peak * `hardware.MFU`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Stage
from regiontok.train.parts import parameter_counts

# What families call the width of the feed-forward layer; those that do not say take 4 h.
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "dff")
USABLE = 0.9  # of a device's memory: the allocator and the library need the rest


@dataclass(frozen=True)
class Shape:
    """The sizes of a language model that the formulas need.

    Attributes:
        layers: how many layers there are.
        width: channels of the residual stream.
        queries: channels of all query heads.
        keys: channels of all key heads.
        feed_forward: channels of the feed-forward layer.
        vocabulary: how many tokens there are.
    """

    layers: int
    width: int
    queries: int
    keys: int
    feed_forward: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The sizes in a transformers config.

        >>> from transformers import LlamaConfig
        >>> shape = Shape.of(LlamaConfig())
        >>> shape.layers, shape.width, shape.queries, shape.keys
        (32, 4096, 4096, 4096)
        >>> shape.feed_forward, shape.vocabulary
        (11008, 32000)
        """
        width = config.hidden_size
        heads = _first_of(config, ("num_attention_heads",), 1)  # a state-space model has none
        head_width = _first_of(config, ("head_dim",), width // heads)
        key_heads = _first_of(config, ("num_key_value_heads",), heads)
        return cls(
            layers=config.num_hidden_layers,
            width=width,
            queries=heads * head_width,
            keys=key_heads * head_width,
            feed_forward=_first_of(config, _FEED_FORWARD, 4 * width),
            vocabulary=config.vocab_size,
        )


def _first_of(config: Any, names: Sequence[str], default: int) -> int:
    """The first of some fields of a config that is there and a number; families name them apart."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and value), default)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory on one device, by what they hold."""

    weights: float
    gradients: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """The sum of all four."""
        return self.weights + self.gradients + self.optimiser + self.activations


def activation_bytes(shape: Shape, tokens: int, *, number_bytes: int, checkpointing: bool) -> float:
    """Bytes that a pass keeps for the backward one; the module's docstring has the formula.

    Args:
        shape: sizes of the language model.
        tokens: tokens of the pass.
        number_bytes: bytes of one number.
        checkpointing: whether layers are computed again in the backward pass.
    """
    b, h, f = number_bytes, shape.width, shape.feed_forward
    layer = b * (6 * h + 3 * shape.queries + 3 * shape.keys + 4 * f) + 8 * h
    logits = (b + 8) * shape.vocabulary
    layers = shape.layers * b * h + layer if checkpointing else shape.layers * layer
    return float(tokens) * (layers + logits)


def stage_memory(
    model: RegionVLM,
    stage: Stage,
    tokens: int,
    *,
    half: bool,
    devices: int = 1,
    checkpointing: bool = False,
) -> Memory:
    """Memory of one device while a stage trains.

    Args:
        model: a model whose trainable parts are set; it may be on the meta device.
        stage: the stage.
        tokens: tokens of one pass.
        half: whether frozen weights are in bfloat16.
        devices: how many devices weights, gradients and optimiser are divided among.
        checkpointing: whether layers are computed again in the backward pass.
    """
    learning, total = _parameter_sums(model)
    return Memory(
        weights=(4 * learning + (2 if half else 4) * (total - learning)) / devices,
        gradients=4 * learning / devices,
        optimiser=8 * learning / devices,
        activations=activation_bytes(
            shape_of(model),
            tokens,
            number_bytes=2 if stage.precision == "bf16" else 4,
            checkpointing=checkpointing,
        ),
    )


def shape_of(model: RegionVLM) -> Shape:
    """The sizes of a `RegionVLM`'s language model."""
    return Shape.of(model.config.text_config.get_text_config())


def sample_operations(model: RegionVLM, stage: Stage, tokens: float) -> float:
    """Floating-point operations of training on one sample of so many tokens."""
    parts, shape = parameter_counts(model), shape_of(model)
    language_model = parts["language_model"][1]
    if not model.config.text_config.tie_word_embeddings:
        # the input embedding is only looked up; a tied one is multiplied by at the end
        language_model -= shape.vocabulary * shape.width
    learning, _ = _parameter_sums(model)
    attention = 2 * tokens * shape.queries * shape.layers
    forward = 2 * language_model + attention
    passes = 3 if stage.checkpointing else 2
    own_gradient = 2 * min(learning, language_model + parts["connector"][1])
    return tokens * (forward * passes + attention + own_gradient)


def _parameter_sums(model: RegionVLM) -> tuple[int, int]:
    """(Parameters that learn, all parameters) of the whole model."""
    learning, total = zip(*parameter_counts(model).values(), strict=True)
    return sum(learning), sum(total)


def most_samples(
    model: RegionVLM, stage: Stage, *, row: int, memory: float, half: bool, devices: int = 1
) -> int:
    """Samples, or packed rows, whose pass fits into nine tenths of a device; at least 1.

    Args:
        model: a model whose trainable parts are set.
        stage: the stage.
        row: tokens of one sample or packed row.
        memory: bytes of the device.
        half: whether frozen weights are in bfloat16.
        devices: how many devices weights, gradients and optimiser are divided among.
    """
    fixed = stage_memory(model, stage, 0, half=half, devices=devices).total
    checkpointing = stage.checkpointing
    activations = stage_memory(
        model, stage, row, half=half, devices=devices, checkpointing=checkpointing
    ).activations
    return max(1, int((USABLE * memory - fixed) // activations))

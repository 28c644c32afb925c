"""The door of released models: ready-made visual tokens as `mm_encoder_outputs`, and as many
placeholders as there are tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import Tensor

from regiontok.released.family import ImageTokens

OLDEST = (
    "5.18"  # 5.17 swallows mm_encoder_outputs in silence: the logits are those of bare placeholders
)


def check_door(model: Any) -> None:
    """Refuse a transformers, or a model of it, that takes no ready-made visual tokens.

    Raises:
        ValueError: it would ignore them in silence, or has no such argument.
    """
    if Version(transformers.__version__) < Version(OLDEST):
        raise ValueError(
            f"transformers {transformers.__version__} ignores ready-made visual tokens in silence; version {OLDEST} or newer takes them"
        )
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{type(model).__name__} of transformers {transformers.__version__} takes no mm_encoder_outputs: region tokens have no way in"
        )


class Ragged(list):
    """Tokens of each image, of different counts: some families join the list themselves, others
    call `.to` on it."""

    def to(self, *args: Any, **options: Any) -> Tensor:
        """All as one tensor, moved."""
        return torch.cat(list(self)).to(*args, **options)


def visual_outputs(tokens: Sequence[ImageTokens]) -> dict[str, Any]:
    """`mm_encoder_outputs`: the tokens in the form in which transformers takes a vision tower's
    answer; fresh for one call.

    Deep-stacked features are a list of layers, each a list of images.
    """
    visual = _visual_class()()
    visual.pooler_output = [own.values for own in tokens]
    if tokens and tokens[0].deep:
        visual.deepstack_features = [
            Ragged(layer) for layer in zip(*(own.deep for own in tokens), strict=True)
        ]
    return {"image": visual}


@cache
def _visual_class() -> type:
    """An output class that keeps its lists `Ragged` also when generation writes them anew for
    beams."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    class Visual(BaseModelOutputWithDeepstackFeatures):
        def __setattr__(self, name: str, value: Any) -> None:
            ragged = name == "pooler_output" and isinstance(value, list | tuple)
            super().__setattr__(name, Ragged(value) if ragged else value)

    return Visual


def rewrapped(text: str, token: str, count: int) -> str:
    """A run of placeholders and what stands around it, with `count` placeholders.

    >>> rewrapped("<img>xxxx</img>", "x", 2), rewrapped("<img>xxxx</img>", "x", 0)
    ('<img>xx</img>', '<img></img>')

    Raises:
        ValueError: no run, or several.
    """
    before, found, rest = text.partition(token)
    inside, _, after = (found + rest).rpartition(token)
    if not found or inside.replace(token, ""):
        raise ValueError(f"expected one run of {token} for an image, got {text[:80]!r}")
    return before + token * count + after

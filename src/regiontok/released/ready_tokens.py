"""How ready-made visual tokens enter a released model: `mm_encoder_outputs`, and placeholders."""

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

# 5.17 swallows mm_encoder_outputs in silence: the logits are those of bare placeholders
OLDEST_VERSION = "5.18"


def check_takes_ready_tokens(model: Any) -> None:
    """Refuse a transformers, or a model of it, that takes no ready-made visual tokens.

    Raises:
        ValueError: If the installed transformers would ignore them in silence, or the model has no
            such argument.
    """
    if Version(transformers.__version__) < Version(OLDEST_VERSION):
        raise ValueError(
            f"transformers {transformers.__version__} ignores ready-made visual tokens in silence; "
            f"version {OLDEST_VERSION} or newer takes them"
        )
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{type(model).__name__} of transformers {transformers.__version__} takes no "
            "mm_encoder_outputs: region tokens have no way in"
        )


class RaggedTokens(list[Tensor]):
    """Tokens of each image, of different counts.

    Some families join the list themselves, others call `.to` on it.
    """

    def to(self, *args: Any, **options: Any) -> Tensor:
        """The tokens of all images as one tensor, moved."""
        return torch.cat(list(self)).to(*args, **options)


def visual_outputs(tokens: Sequence[ImageTokens]) -> dict[str, Any]:
    """`mm_encoder_outputs`: the tokens in the form in which transformers takes a tower's answer.

    Deep-stacked features are a list of layers, each a list of images. What comes back serves one
    call only.
    """
    visual = _visual_class()()
    visual.pooler_output = [image.values for image in tokens]
    if tokens and tokens[0].deepstack:
        layers = zip(*(image.deepstack for image in tokens), strict=True)
        visual.deepstack_features = [RaggedTokens(layer) for layer in layers]
    return {"image": visual}


@cache
def _visual_class() -> type:
    """An output class whose lists stay `RaggedTokens` when generation writes them for beams."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    class VisualOutput(BaseModelOutputWithDeepstackFeatures):
        def __setattr__(self, name: str, value: Any) -> None:
            ragged = name == "pooler_output" and isinstance(value, list | tuple)
            super().__setattr__(name, RaggedTokens(value) if ragged else value)

    return VisualOutput


def with_placeholders(text: str, token: str, count: int) -> str:
    """A run of placeholders and what stands around it, with `count` placeholders.

    >>> with_placeholders("<img>xxxx</img>", "x", 2), with_placeholders("<img>xxxx</img>", "x", 0)
    ('<img>xx</img>', '<img></img>')

    Raises:
        ValueError: If there is no run of placeholders, or several.
    """
    prefix, first, remainder = text.partition(token)
    run, _, suffix = (first + remainder).rpartition(token)
    if not first or run.replace(token, ""):
        raise ValueError(f"expected one run of {token} for an image, got {text[:80]!r}")
    return prefix + token * count + suffix

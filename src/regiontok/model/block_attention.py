"""Attention of independent blocks without a mask of all tokens by all tokens.

A picture's beginning attends to itself, and each block to the beginning and to itself. As one row
with a mask, every token would be scored against every token of the row; here the beginnings of all
samples are one batch, and the blocks another, as `BlockLayout` has them.

After: nothing published that is known to us; prefix sharing as in Hydragen (Juravsky et al. 2024,
arXiv:2402.05099), for training.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from regiontok.model.attention import text_decoder
from regiontok.model.block_layout import BlockLayout
from regiontok.model.packed import text_ids
from regiontok.model.splice import IGNORE
from regiontok.system.errors import first_line
from regiontok.system.logs import module_logger

if TYPE_CHECKING:
    from jaxtyping import Float

NAME = "regiontok_blocks"  # without "flash" in it, at which transformers would look for kernels
_TRIED = 13  # ids of the row by which a language model is tried
_LOG = module_logger(__name__)


def block_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    block_layout: BlockLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of a line of tokens by their layout; SDPA where there is none.

    Raises:
        ValueError: If scores have a soft cap, sinks or a bias.
    """
    if block_layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        raise ValueError("attention with a soft cap, sinks or a bias is not computed by blocks")
    groups = query.shape[1] // key.shape[1]
    key, value = (
        side.repeat_interleave(groups, 1) if groups > 1 else side for side in (key, value)
    )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rows = [block_layout.padded(side) for side in (query, key, value)]
    prefix = block_layout.prefix
    beginnings = [side[:, :, :prefix] for side in rows]
    of_beginnings = F.scaled_dot_product_attention(
        beginnings[0], beginnings[1], beginnings[2], dropout_p=dropout, is_causal=True, scale=scale
    )
    of_blocks = _of_blocks(block_layout, rows, scale, dropout)
    return block_layout.in_line(torch.cat([of_beginnings, of_blocks], 2)), None


def _of_blocks(
    layout: BlockLayout, rows: list[Tensor], scale: float, dropout: float
) -> Float[Tensor, "samples heads c d"]:
    """What blocks see: the beginning of their sample, and themselves."""
    prefix, chunk = layout.prefix, layout.chunk
    samples, heads, _, width = rows[0].shape
    (_, k, v) = (side[:, :, :prefix] for side in rows)
    own_q, own_k, own_v = (
        side[:, :, prefix:].reshape(samples, heads, -1, chunk, width) for side in rows
    )
    own_q = own_q * scale
    to_prefix = own_q.flatten(2, 3) @ k.transpose(-1, -2)
    if layout.sees_prefix is not None:
        to_prefix = to_prefix.masked_fill(~layout.sees_prefix, -torch.inf)
    to_chunk = (own_q @ own_k.transpose(-1, -2)).masked_fill(~layout.sees_chunk, -torch.inf)
    scores = torch.cat([to_prefix, to_chunk.flatten(2, 3)], -1)
    weights = F.dropout(scores.softmax(-1).to(v.dtype), dropout)
    from_chunk = weights[..., prefix:].unflatten(2, (-1, chunk)) @ own_v
    seen: Tensor = weights[..., :prefix] @ v + from_chunk.flatten(2, 3)
    return seen


AttentionInterface.register(NAME, block_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def attention_by_blocks(model: nn.Module) -> Iterator[None]:
    """While it is open, a model's supervised forward of rows with blocks needs no mask.

    All other calls run SDPA as before.
    """
    decoder = text_decoder(model)
    configs = {
        id(module.config): module.config
        for module in decoder.modules()
        if hasattr(module, "config")
    }
    previous = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in previous:
            config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in previous:
            config._attn_implementation = implementation


def by_blocks(language_model: Any) -> bool:
    """Whether a language model computes attention by blocks now."""
    return bool(language_model.config.get_text_config()._attn_implementation == NAME)


def mask_of_nothing(config: Any) -> Any:
    """A mask in the form that a language model takes, for calls that read their layout instead."""
    seen = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    kinds = getattr(config.get_text_config(), "layer_types", None)
    return seen if kinds is None else dict.fromkeys(kinds, seen)


@torch.no_grad()
def computes_by_blocks(model: Any) -> bool:
    """Whether a language model has the same loss by blocks as with a mask.

    A few ids are asked both ways: families differ in what they hand to attention.

    Args:
        model: a `RegionVLM` with weights, whose language model computes supervised logits alone; it
            is left in the mode it came in.
    """
    if model.language_model.config.get_text_config()._attn_implementation != "sdpa":
        return False
    ids = text_ids(model, _TRIED)
    blocks = torch.tensor([[-1] * 4 + [0] * 4 + [1] * 5], device=ids.device)
    labels = ids.clone()
    labels[:, [0, 1, 2, 3, 4, 8]] = IGNORE
    batch = {"input_ids": ids, "labels": labels, "blocks": blocks, "supervised_only": True}
    batch["segments"] = torch.zeros_like(blocks)
    was_training = model.training
    model.eval()
    try:
        masked = model(**batch).loss
        with attention_by_blocks(model):
            blockwise = model(**batch).loss
    # a family that does not take such arguments may raise anything
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        _LOG.info("independent questions are computed with a mask: %s", first_line(error))
        return False
    finally:
        model.train(was_training)
    tolerance = 1e-5 if masked.dtype == torch.float32 else 1e-2
    return bool(torch.isclose(masked, blockwise, rtol=tolerance))

"""Softmax rows of attention in float32, of the queries and keys that attention functions get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def softmax_rows(
    query: Float[Tensor, "b heads q d"],
    key: Float[Tensor, "b kv n d"],
    columns: Int[Tensor, "b r"],
    *,
    mask: Tensor | None,
    scaling: float | None,
    causal: bool,
    softcap: float | None = None,
) -> Float[Tensor, "b heads r n"]:
    """The attention of some queries on all keys; what a query cannot see is 0.

    Args:
        query: all queries of a call.
        key: the keys; several heads of queries may share one of keys.
        columns: indices of the queries whose rows are wanted.
        mask: True (or 0) where a query may attend, False (or a large negative number) where not,
            `[b 1 q n]` or longer; None if there is none.
        scaling: the factor of the products; None is one over the root of the width.
        causal: whether, without a mask, queries see no later keys.
        softcap: the largest score, which a tanh approaches (Gemma2); None for none.
    """
    queries, keys = query.shape[2], key.shape[2]
    scores = _scores(query.take_along_dim(columns[:, None, :, None], 2), key, scaling)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is None:
        # without a mask one query sees all, as SDPA has it
        sees_all = torch.full_like(columns, keys - 1)
        last = columns if queries > 1 and causal else sees_all
        mask = (torch.arange(keys, device=columns.device) <= last[..., None])[:, None]
    else:
        mask = mask[..., :keys].expand(len(query), -1, queries, keys)
        mask = mask.take_along_dim(columns[:, None, :, None], 2)
    is_bool = mask.dtype == torch.bool
    scores = scores.masked_fill(~mask, -torch.inf) if is_bool else scores + mask
    return scores.softmax(-1).nan_to_num(0)  # a row of padding sees nothing


def _scores(
    query: Float[Tensor, "b heads r d"], key: Float[Tensor, "b kv n d"], scaling: float | None
) -> Float[Tensor, "b heads r n"]:
    """Scaled products of queries and keys in float32; several heads may share one of keys."""
    batch, heads, _, width = query.shape
    key_heads = key.shape[1]
    grouped = query.float().view(batch, key_heads, heads // key_heads, -1, width)
    products = grouped @ key.float().transpose(-1, -2)[:, :, None]
    scale = width**-0.5 if scaling is None else scaling
    return products.view(batch, heads, -1, key.shape[2]) * scale


def softcapped_output(
    query: Float[Tensor, "b heads q d"],
    key: Float[Tensor, "b kv n d"],
    value: Float[Tensor, "b kv n d"],
    *,
    mask: Tensor | None,
    scaling: float | None,
    causal: bool,
    softcap: float,
) -> Float[Tensor, "b q heads d"]:
    """What eager attention with a soft cap gives, which SDPA does not have; without dropout."""
    batch, heads, queries, width = query.shape
    columns = torch.arange(queries, device=query.device).expand(batch, -1)
    rows = softmax_rows(
        query, key, columns, mask=mask, scaling=scaling, causal=causal, softcap=softcap
    )
    grouped = rows.to(value.dtype).view(batch, value.shape[1], -1, queries, key.shape[2])
    output = (grouped @ value[:, :, None]).view(batch, heads, queries, width)
    return output.transpose(1, 2).contiguous()


def at_columns(
    rows: Float[Tensor, "b heads r s"], keys: Int[Tensor, "b t"]
) -> Float[Tensor, "b heads r t"]:
    """The rows at some columns; one that is not there yet gets 0."""
    columns, length = keys.to(rows.device), rows.shape[-1]
    exists = (columns >= 0) & (columns < length)
    values = rows.take_along_dim(columns.clamp(0, length - 1)[:, None, None], -1)
    return values * exists[:, None, None]

"""The attention of CLS in one block of a transformer that runs without keeping any attention: from
the block's queries and keys.

SDPA gives no weights, and eager attention keeps n x n of them in every block; one row of one block
is two small tensors and a product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

NAMES = (
    ("q_proj", "query"),
    ("k_proj", "key"),
)  # what the families of transformers call the two projections


@contextmanager
def watched(module: nn.Module, block: int) -> Iterator[list[Tensor]]:
    """While it is open, a forward pass leaves the queries and the keys `[b n d]` of a block in the
    list."""
    kept: list[Tensor] = []
    projections = [
        [part for name, part in module.named_modules() if name.split(".")[-1] in names]
        for names in NAMES
    ]
    handles = [
        part[block].register_forward_hook(lambda _module, _input, out: kept.append(out))
        for part in projections
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def attention_of_first(
    queries: Float[Tensor, "b n d"], keys: Float[Tensor, "b n d"], heads: int
) -> Float[Tensor, "b n"]:
    """Softmax attention of the first token on all tokens, mean over heads; float32."""
    one = queries[:, 0].float().unflatten(-1, (heads, -1))
    all_keys = keys.float().unflatten(-1, (heads, -1))
    logits = torch.einsum("bhd,bnhd->bhn", one, all_keys) * one.shape[-1] ** -0.5
    return logits.softmax(-1).mean(1)

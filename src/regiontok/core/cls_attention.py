"""The attention that CLS pays to the other tokens in one block, from the block's queries and keys.

SDPA gives no weights, and eager attention keeps n x n of them in every block; one row of one block
is two small tensors and a product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

# what the families of transformers call the projections
PROJECTIONS = {"queries": ("q_proj", "query"), "keys": ("k_proj", "key")}


@contextmanager
def watched_block(module: nn.Module, block: int) -> Iterator[dict[str, Tensor]]:
    """A dictionary in which forward passes leave the `queries` and `keys` `[b n d]` of a block."""
    projected: dict[str, Tensor] = {}
    handles = []
    for kind, names in PROJECTIONS.items():
        layers = [layer for name, layer in module.named_modules() if name.split(".")[-1] in names]
        handles.append(layers[block].register_forward_hook(partial(_keep, projected, kind)))
    try:
        yield projected
    finally:
        for handle in handles:
            handle.remove()


def _keep(
    projected: dict[str, Tensor], kind: str, _module: nn.Module, _inputs: object, output: Tensor
) -> None:
    projected[kind] = output


def attention_of_first(
    queries: Float[Tensor, "b n d"], keys: Float[Tensor, "b n d"], heads: int
) -> Float[Tensor, "b n"]:
    """Softmax attention of the first token on all tokens, mean over heads; float32."""
    batch, patches, width = keys.shape
    first_query = queries[:, 0].float().reshape(batch, heads, width // heads)
    all_keys = keys.float().reshape(batch, patches, heads, width // heads)
    logits = torch.einsum("bhd,bnhd->bhn", first_query, all_keys) * (width // heads) ** -0.5
    attention: Tensor = logits.softmax(-1).mean(1)
    return attention

"""What steps read that choose patches by the attention of CLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ONE = (
    1 << 20
)  # cosines are whole multiples of 1 / ONE, so that noise in the last bits decides nothing


def ranked(grid: PatchGrid, step: str) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The valid patches (raster index) and the attention of each, most attended first, ties in
    raster order.

    Raises:
        ValueError: the encoder gave no attention of CLS.
    """
    if grid.cls_attention is None:
        raise ValueError(
            f"{step} chooses by the attention of CLS on the patches, and the encoder gave none: take one with a CLS token and ask for "
            "it, as in transformers('openai/clip-vit-large-patch14-336', layer=-2, cls_attention=True)"
        )
    valid = grid.valid.flatten().nonzero()[:, 0]
    attention = grid.cls_attention.flatten()[valid].double()
    order = attention.argsort(descending=True, stable=True)
    return valid[order], attention[order]


def cosines(grid: PatchGrid, a: Int[Tensor, "i"], b: Int[Tensor, "j"]) -> Float[Tensor, "i j"]:
    """Cosine similarity of the features of two lists of patches, in 1 / ONE."""
    flat = grid.features.detach().flatten(0, -2)
    one, other = (
        torch.nn.functional.normalize(flat[patches].double(), dim=1) for patches in (a, b)
    )
    return (one @ other.T * ONE).round()

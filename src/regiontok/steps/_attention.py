"""What the steps read that choose patches by the attention that CLS pays to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.steps._cosines import rounded_cosines

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def patches_by_attention(grid: PatchGrid, step: str) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The valid patches (raster index) and the attention of each, the most attended first.

    Equally attended patches come in raster order. `step` names the step in the error message.

    Raises:
        ValueError: If the encoder gave no attention of CLS.
    """
    if grid.cls_attention is None:
        raise ValueError(
            f"{step} chooses by the attention of CLS on the patches, and the encoder gave none: "
            "take one with a CLS token and ask for it, as in "
            "transformers('openai/clip-vit-large-patch14-336', layer=-2, cls_attention=True), or put "
            "the transform salience before it"
        )
    valid = grid.valid.flatten().nonzero()[:, 0]
    attention = grid.cls_attention.flatten()[valid].double()
    order = attention.argsort(descending=True, stable=True)
    return valid[order], attention[order]


def patch_cosines(
    grid: PatchGrid, patches: Int[Tensor, "i"], others: Int[Tensor, "j"]
) -> Float[Tensor, "i j"]:
    """The cosine similarity of the features of two lists of patches, in multiples of 2^-20."""
    flat = grid.features.detach().flatten(0, -2)
    units, other_units = (
        torch.nn.functional.normalize(flat[index].double(), dim=1) for index in (patches, others)
    )
    return rounded_cosines(units, other_units)

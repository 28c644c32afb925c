"""What the steps read that choose patches by the attention that CLS pays to them.

`lite` and other encoders without CLS give none. For them patches can be ranked by salience: how far
each is from the picture's mean. That is not what a trained CLS looks at, but what is unlike the
rest of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.steps._cosines import rounded_cosines

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Rank = Literal["attention", "salience"]
RANKS = ("attention", "salience")


def ranked_patches(
    grid: PatchGrid, step: str, by: Rank
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The valid patches (raster index) and the attention or salience of each, the highest first.

    Patches that are alike in it come in raster order. `step` names the step in the error message.

    Raises:
        ValueError: If the encoder gave no attention of CLS, and that is what ranks.
    """
    valid = grid.valid.flatten().nonzero()[:, 0]
    if by == "salience":
        rows = grid.features.detach().flatten(0, -2)[valid].double()
        scores = (rows - rows.mean(0)).norm(dim=1)
    else:
        scores = _attention_of(grid, step).flatten()[valid].double()
    order = scores.argsort(descending=True, stable=True)
    return valid[order], scores[order]


def _attention_of(grid: PatchGrid, step: str) -> Float[Tensor, "*grid"]:
    if grid.cls_attention is None:
        raise ValueError(
            f"{step} chooses by the attention of CLS on the patches, and the encoder gave none: "
            "take one with a CLS token and ask for it, as in "
            "transformers('openai/clip-vit-large-patch14-336', layer=-2, cls_attention=True), "
            f"or rank by what is unlike the rest of the picture: {step}(by='salience')"
        )
    return grid.cls_attention


def patch_cosines(
    grid: PatchGrid, patches: Int[Tensor, "i"], others: Int[Tensor, "j"]
) -> Float[Tensor, "i j"]:
    """The cosine similarity of the features of two lists of patches, in multiples of 2^-20."""
    flat = grid.features.detach().flatten(0, -2)
    units, other_units = (
        torch.nn.functional.normalize(flat[index].double(), dim=1) for index in (patches, others)
    )
    return rounded_cosines(units, other_units)

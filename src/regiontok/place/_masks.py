"""Which tokens are rows of which mask: delimiters and 1-D positions go by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.tokens import REGION, Tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def view_of(tokens: Tokens, grids: Sequence[PatchGrid]) -> Int[Tensor, "t"]:
    """The view of each token, counted over the batch: its index in `grids`."""
    image_of_view = torch.tensor(images_of(grids), dtype=torch.int64, device=tokens.image.device)
    return torch.searchsorted(image_of_view, tokens.image) + tokens.view


def mask_of(tokens: Tokens, grids: Sequence[PatchGrid]) -> Int[Tensor, "t"]:
    """The number of each token's mask in its image, 1, 2, ...; 0 for a token of no mask.

    Masks are numbered in the order of the tokens, over all views of an image. CLS, the whole image,
    delimiters and newlines belong to no mask; neither do the rows of a view whose regions are its
    patches themselves, each once and in raster order: that is a view without masks (under the pool
    `select`; a pooled token is always a region's).

    >>> from regiontok.core.frame import Frame
    >>> ids, ones = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 1])
    >>> tokens = Tokens(torch.zeros(3, 1), ids, ids, torch.tensor([0, 0, 1]), ones, ids, images=1)
    >>> grid = PatchGrid(torch.zeros(1, 2, 1), Frame.stretch((1, 2), (1, 2), (1, 1)))
    >>> mask_of(tokens, [grid]).tolist()
    [1, 1, 2]
    """
    number = torch.zeros_like(tokens.image)
    rows = (tokens.kind == REGION).nonzero()[:, 0]
    if not len(rows):
        return number
    view, image = view_of(tokens, grids)[rows], tokens.image[rows]
    region, patch = tokens.region[rows], tokens.patch[rows]
    begins = torch.ones_like(rows, dtype=torch.bool)
    begins[1:] = (view.diff() != 0) | (region.diff() != 0)
    maskless = _without_masks(view, patch, begins, grids)[view]
    count = (begins & ~maskless).long().cumsum(0)
    # The count at the first row of each row's image; that row itself may begin a mask.
    first = torch.searchsorted(image, image)
    in_image = count - count[first] + (~maskless[first]).long()
    number[rows] = in_image.masked_fill(maskless, 0)
    return number


def _without_masks(
    view: Int[Tensor, "j"],
    patch: Int[Tensor, "j"],
    begins: Bool[Tensor, "j"],
    grids: Sequence[PatchGrid],
) -> Bool[Tensor, "v"]:
    """Which views have each valid patch as a row, once, in raster order, in a region of its own."""
    views = len(grids)
    unlike_patches = ~begins | (patch < 0)
    unlike_patches[1:] |= (view.diff() == 0) & (patch.diff() <= 0)
    valid = torch.stack([grid.valid.sum() for grid in grids]).to(view.device)
    complete = torch.bincount(view, minlength=views) == valid
    return complete & (torch.bincount(view[unlike_patches], minlength=views) == 0)

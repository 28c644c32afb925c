"""Which tokens are rows of which mask: what delimiters and 1-D positions go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.tokens import REGION, Tokens

if TYPE_CHECKING:
    from jaxtyping import Int


def view_of(tokens: Tokens, grids: Sequence[PatchGrid]) -> Int[Tensor, "t"]:
    """The view of each token, counted over the batch: its place in `grids`."""
    owners = torch.tensor(images_of(grids), dtype=torch.int64, device=tokens.image.device)
    return torch.searchsorted(owners, tokens.image) + tokens.view


def mask_of(tokens: Tokens, grids: Sequence[PatchGrid]) -> Int[Tensor, "t"]:
    """The number of each token's mask in its image, 1, 2, ... in the order of the tokens, over all
    views; 0 for a token of no mask.

    Of no mask are CLS, whole image, delimiters and newlines; and the rows of a view whose regions
    are its patches themselves, each once and in raster order: that is a view without masks (pool
    `select`; a pooled token is always a region's).

    >>> from regiontok.core.frame import Frame
    >>> ids = torch.zeros(3, dtype=torch.int64)
    >>> tokens = Tokens(torch.zeros(3, 1), ids, ids, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), ids, images=1)
    >>> mask_of(tokens, [PatchGrid(torch.zeros(1, 2, 1), Frame.stretch((1, 2), (1, 2), (1, 1)))]).tolist()
    [1, 1, 2]
    """
    number = torch.zeros_like(tokens.image)
    rows = (tokens.kind == REGION).nonzero()[:, 0]
    if not len(rows):
        return number
    view, region, patch, image = (
        view_of(tokens, grids)[rows],
        tokens.region[rows],
        tokens.patch[rows],
        tokens.image[rows],
    )
    begins = torch.ones_like(rows, dtype=torch.bool)
    begins[1:] = (view.diff() != 0) | (region.diff() != 0)
    bare = _without_masks(view, patch, begins, grids)[view]
    count = (begins & ~bare).long().cumsum(0)
    first = torch.searchsorted(
        image, image
    )  # of each row's image; its row itself begins a mask, if it has one
    number[rows] = (count - count[first] + (~bare[first]).long()).masked_fill(bare, 0)
    return number


def _without_masks(
    view: Tensor, patch: Tensor, begins: Tensor, grids: Sequence[PatchGrid]
) -> Tensor:
    """`[v]` True where each valid patch is a row, once, in raster order, and a region of its
    own."""
    views = len(grids)
    odd = ~begins | (patch < 0)
    odd[1:] |= (view.diff() == 0) & (patch.diff() <= 0)
    valid = torch.stack([grid.valid.sum() for grid in grids]).to(view.device)
    return (torch.bincount(view, minlength=views) == valid) & (
        torch.bincount(view[odd], minlength=views) == 0
    )

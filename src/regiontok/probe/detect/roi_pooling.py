"""Features of boxes from the levels of a pyramid, at strides that are given and never guessed.

After: Mask R-CNN (RoIAlign); feature pyramid networks (which level a box reads).
Differs: torchvision's `MultiScaleRoIAlign` finds a level's scale by comparing sizes and rounds it
to a power of two, so that a map of stride 14 is read as one of stride 16: a box around x = 400
would read x = 357. Here boxes are divided by the level's stride before `roi_align` sees them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.ops import roi_align

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Stride = tuple[float, float]  # canvas pixels of a cell: (y, x)
CELLS = (
    14  # an object whose side is so many cells of a level reads that level (224 px at stride 16)
)


def level_of(boxes: Float[Tensor, "k 4"], strides: Sequence[Stride]) -> Int[Tensor, "k"]:
    """The level that each box reads: the coarsest on which its side still has `CELLS` cells.

    Args:
        boxes: xyxy, in canvas pixels.
        strides: of the levels, each twice the one before.

    >>> square = torch.tensor([[0.0, 0.0, 224.0, 224.0], [0.0, 0.0, 20.0, 20.0]])
    >>> level_of(square, [(4.0, 4.0), (8.0, 8.0), (16.0, 16.0), (32.0, 32.0)])
    tensor([2, 0])
    """
    finest = math.sqrt(strides[0][0] * strides[0][1])
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    exponents = torch.log2(sides / (CELLS * finest) + 1e-8).floor()
    return exponents.clamp(0, len(strides) - 1).long()


def pool_boxes(
    levels: Sequence[Float[Tensor, "b c y x"]],
    strides: Sequence[Stride],
    boxes: Sequence[Float[Tensor, "k 4"]],
    size: int,
) -> Float[Tensor, "n c s s"]:
    """The features of boxes, `size` x `size` each, those of the first picture first.

    Args:
        levels: maps of the batch, fine to coarse.
        strides: canvas pixels of a cell of each level.
        boxes: the boxes of each picture: xyxy, in canvas pixels.
        size: cells of the result along a side.
    """
    flat = torch.cat(list(boxes))
    owner = torch.cat([torch.full((len(own),), i) for i, own in enumerate(boxes)])
    chosen = level_of(flat, strides)
    pooled = flat.new_zeros((len(flat), levels[0].shape[1], size, size))
    for number, (level, (y, x)) in enumerate(zip(levels, strides, strict=True)):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            cells = flat[rows] / flat.new_tensor([x, y, x, y])
            rois = torch.cat([owner.to(flat)[rows, None], cells], dim=1)
            values = roi_align(level.float(), rois, size, spatial_scale=1.0, aligned=True)
            pooled = pooled.index_copy(0, rows, values)
    return pooled

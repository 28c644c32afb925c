"""Grids of patch features, and what their regions look like as lists."""

from __future__ import annotations

from typing import Any

import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.steps.merge import Merge


def grid_of(
    features: Any, frame: Frame | None = None, *, masks: Any = None, **fields: Any
) -> PatchGrid:
    """A grid of features, each patch of which is a pixel unless a frame says otherwise.

    Args:
        features: `[h w d]`, or `[t h w d]` of a clip.
        frame: how the image lies under the patches.
        masks: masks of the image, `PixelMasks` or dense `[k H W]`.
        fields: other fields of the grid.

    >>> grid_of([[[1.0, 0.0], [0.0, 1.0]]]).grid
    (1, 2)
    """
    features = torch.as_tensor(features)
    size = tuple(features.shape[-3:-1])
    frame = frame or Frame.stretch(size, size, (1, 1))
    if masks is not None and not isinstance(masks, PixelMasks):
        masks = PixelMasks.from_dense(masks)
    return PatchGrid(features, frame, masks=masks, **fields)


def blank_grid(
    height: int = 6, width: int = 8, frame: Frame | None = None, **fields: Any
) -> PatchGrid:
    """A grid whose only feature is zero; a frame says more than height and width."""
    grid = (height, width) if frame is None else frame.grid
    return grid_of(torch.zeros(*grid, 1), frame, **fields)


def attended_grid(attention: list[list[float]], features: Any = None) -> PatchGrid:
    """A grid with the attention `[h w]` that CLS pays to each patch; without features all agree."""
    weights = torch.tensor(attention)
    features = torch.ones(*weights.shape, 2) if features is None else features
    return grid_of(features, cls_attention=weights)


def patches_from(step: Any, grid: PatchGrid) -> list[list[int]]:
    """The patches of each region that a step makes of a grid's single patches."""
    return patches_of(step.one(Regions.singletons(grid.grid), grid))


def patches_of(regions: Regions) -> list[list[int]]:
    """The patches of each region.

    >>> patches_of(Regions.from_labels(torch.tensor([[0, 1, 1]])))
    [[0], [1, 2]]
    """
    return [patches.tolist() for patches in regions.patch.split(regions.sizes.tolist())]


def merged(encoder: Any, picture: Picture, **stop: Any) -> Regions:
    """The regions of a picture by merging, at the encoder's threshold unless `stop` says more."""
    (grid,) = encoder.encode([picture])
    stop = stop or {"threshold": encoder.threshold}
    return Merge(**stop).one(Regions.singletons(grid.grid, grid.valid), grid)

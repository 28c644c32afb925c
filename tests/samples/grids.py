"""Grids of patch features, and what their regions look like as lists."""

from __future__ import annotations

from typing import Any

import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions


def grid_of(features: Any, frame: Frame | None = None, **fields: Any) -> PatchGrid:
    """Features `[h w d]`, or `[t h w d]` of a clip, as a grid; each patch is a pixel by default.

    >>> grid_of([[[1.0, 0.0], [0.0, 1.0]]]).grid
    (1, 2)
    """
    features = torch.as_tensor(features)
    size = tuple(features.shape[-3:-1])
    return PatchGrid(features, frame or Frame.stretch(size, size, (1, 1)), **fields)


def blank_grid(height: int, width: int, **fields: Any) -> PatchGrid:
    """A grid whose only feature is zero, for steps that read places and no features."""
    return grid_of(torch.zeros(height, width, 1), **fields)


def attended_grid(attention: list[list[float]], features: Any = None) -> PatchGrid:
    """A grid with the attention `[h w]` that CLS pays to each patch; without features all agree."""
    weights = torch.tensor(attention)
    features = torch.ones(*weights.shape, 2) if features is None else features
    return grid_of(features, cls_attention=weights)


def patches_of(regions: Regions) -> list[list[int]]:
    """The patches of each region.

    >>> patches_of(Regions.from_labels(torch.tensor([[0, 1, 1]])))
    [[0], [1, 2]]
    """
    return [patches.tolist() for patches in regions.patch.split(regions.sizes.tolist())]

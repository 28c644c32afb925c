"""Standardise each channel over the patches of an image, for the region steps.

After: our own finding: for merging on features without training nothing decides quality more
(docs/papers/methods.md).
Differs: nothing known; it is in no paper of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform


@dataclass(frozen=True)
class Standardise(Transform):
    """Zero mean and unit variance over the valid patches of a view; pooled values stay as they are.

    Attributes:
        floor: smallest divisor, as a share of the largest channel's deviation: a channel that
            deviates by less carries noise, and is not blown up.

    Raises:
        ValueError: If the floor lies outside [0, 1].
    """

    floor: float = 0.05
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor {self.floor} lies outside [0, 1]")

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view.

        Padding becomes zeros; so does a view that varies by rounding only, and such a view merges
        into one region.
        """
        features = grid.features if grid.features.dtype.itemsize >= 4 else grid.features.float()
        valid = features[grid.valid]
        mean, deviation = valid.mean(0), valid.std(0, correction=0)
        rounding = 1e-6 * valid.abs().max()
        normed = torch.zeros_like(features)
        if deviation.max() > rounding:
            smallest = (self.floor * deviation.max()).clamp(min=rounding)
            normed[grid.valid] = (valid - mean) / deviation.clamp(min=smallest)
        return grid.but(features=normed.to(grid.features.dtype), values=grid.pooled)

"""Standardise each channel over the patches of an image, for the region steps.

After: our own finding: for weights-free merging this decides quality more than anything else
(docs/papers/methods.md has the figures).
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
    """Zero mean and unit variance over the valid patches of one view; pooled values stay as they
    are.

    Attributes:
        floor: share of the largest channel deviation below which a channel is not blown up: a
            channel that hardly moves carries noise.
    """

    floor: float = 0.05
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor {self.floor} lies outside [0, 1]")

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view. Padding becomes zeros; so does a view that varies by rounding only,
        which merges into one region."""
        wide = grid.features if grid.features.dtype.itemsize >= 4 else grid.features.float()
        seen = wide[grid.valid]
        mean, deviation = seen.mean(0), seen.std(0, correction=0)
        rounding = 1e-6 * seen.abs().max()
        normed = torch.zeros_like(wide)
        if deviation.max() > rounding:
            normed[grid.valid] = (seen - mean) / deviation.clamp(
                min=(self.floor * deviation.max()).clamp(min=rounding)
            )
        return grid.but(features=normed.to(grid.features.dtype), values=grid.pooled)

"""Keep the patches of a regular sub-grid: every s-th row and column, for exactly k where k factors.

After: the matched-budget baselines of VTC-Bench (arXiv 2510.07143).
Differs: given by a budget, not by a step: the grid is cut into the blocks of `windows(k,
shape='photo')` and the middle patch of each is kept, which is every s-th patch where the sides
divide. So k is exact where those blocks are, else the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._tiling import cut, on_photo, seen


@dataclass(frozen=True)
class Stride(RegionStep):
    """About `k` patches at even distances, one region each, in raster order; a source: it stands
    first in a spec.

    Raises:
        ValueError: k below 1, above the number of patches, or a clip.
    """

    k: int
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one patch, got k={self.k}")

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Select in one view; the regions that come in are replaced."""
        valid = grid.valid
        if valid.ndim != 2:
            raise ValueError(f"stride needs a grid (h, w), got {grid.grid}")
        count = int(valid.sum())
        if self.k > count:
            raise ValueError(f"cannot keep {self.k} of {count} patches")
        box = seen(valid)
        sides = [side.stop - side.start for side in box]
        parts = cut(self.k, sides[0], sides[1], on_photo(grid))
        rows, cols = (
            side.start + (2 * torch.arange(part, device=valid.device) + 1) * length // (2 * part)
            for side, length, part in zip(box, sides, parts, strict=True)
        )
        kept = torch.zeros_like(valid)
        kept[rows[:, None], cols[None, :]] = True
        return Regions.singletons(grid.grid, kept)

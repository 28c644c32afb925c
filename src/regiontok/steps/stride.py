"""Keep the patches of a regular sub-grid: every s-th row and column, for about k patches.

After: the matched-budget baselines of VTC-Bench (arXiv 2510.07143).
Differs: a budget is given, not a step: the grid is cut into the blocks of `windows(k,
shape='photo')` and the middle patch of each is kept, which is every s-th patch where the sides
divide. So the number of patches is exactly k where those blocks are k, else the nearest possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._tiling import nearest_tiling, patch_aspect, valid_box


@dataclass(frozen=True)
class Stride(RegionStep):
    """About `k` patches at even distances, a region each; a source, so it stands first in a spec.

    The patches come in raster order.

    Raises:
        ValueError: If k is below 1 or above the number of patches, or the view is a clip.
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
        box = valid_box(valid)
        sides = [side.stop - side.start for side in box]
        blocks = nearest_tiling(self.k, sides[0], sides[1], patch_aspect(grid))
        rows, columns = (
            side.start + (2 * torch.arange(parts, device=valid.device) + 1) * length // (2 * parts)
            for side, length, parts in zip(box, sides, blocks, strict=True)
        )
        selected = torch.zeros_like(valid)
        selected[rows[:, None], columns[None, :]] = True
        return Regions.singletons(grid.grid, selected)

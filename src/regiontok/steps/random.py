"""Keep k patches drawn at random: the baseline that a selection must beat.

After: the matched-budget baselines of VTC-Bench (arXiv 2510.07143).
Differs: nothing known; the seed is an argument, and every image and epoch draws its own patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.sort import Sort


@dataclass(frozen=True)
class Random(RegionStep):
    """`k` valid patches, a region each, in raster order; a source, so it stands first in a spec.

    They are the first k of `sort('random', seed)`, so a larger k with the same seed keeps all
    patches that a smaller one keeps.

    Raises:
        ValueError: If k is below 1 or above the number of patches.
    """

    k: int
    seed: int = 0
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one patch, got k={self.k}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Draw from one view; the regions that come in are replaced."""
        patches = Regions.singletons(grid.grid, grid.valid)
        if self.k > len(patches):
            raise ValueError(f"cannot keep {self.k} of {len(patches)} patches")
        drawn = Sort("random", seed=self.seed).one(patches, grid).take(range(self.k))
        return Sort("raster").one(drawn, grid)

"""Keep only the k largest regions of a view.

After: nothing published; an example of a region step.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep


@dataclass(frozen=True)
class Largest(RegionStep):
    """Keep the `k` regions with the most patches, in the order in which they stand.

    Attributes:
        k: number of regions that stay; a view with fewer keeps all of them.

    Raises:
        ValueError: If k is below 1.
    """

    k: int
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"largest needs at least one region, got k={self.k}")

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Reduce the regions of one view."""
        largest = regions.sizes.argsort(descending=True, stable=True)[: self.k]
        return regions.take(largest.sort().values)

"""Give patches that lie in no region one: the rest, singletons, a neighbour's, or clusters.

After: the diagnostic study leaves open what becomes of patches outside all SAM masks; our default
is one region of all of them.
Differs: nothing known; the paper is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.merge import Merge

if TYPE_CHECKING:
    from jaxtyping import Bool


@dataclass(frozen=True)
class Cover(RegionStep):
    """Put every valid patch into some region; regions that come in stay in front of new ones.

    Attributes:
        how: "rest": one region of all uncovered patches; "singletons": a region each; "nearest":
            the region of the nearest covered patch (distance on the grid, ties to the first in
            raster order); "clusters": uncovered patches merged among themselves at `threshold`.
        threshold: lowest cosine at which "clusters" merges.

    Raises:
        ValueError: If "clusters" has no threshold, another `how` has one, or the threshold lies
            outside [-1, 1].
    """

    how: Literal["rest", "singletons", "nearest", "clusters"] = "rest"
    threshold: float | None = None
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if (self.how == "clusters") != (self.threshold is not None):
            raise ValueError("a threshold goes with how='clusters', and only with it")
        if self.threshold is not None:
            Merge(self.threshold)  # refuses what is no cosine now, not at the first image with gaps

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Cover one view."""
        gap = grid.valid & (regions.counts == 0)
        if not bool(gap.any()):
            return regions
        if self.how == "nearest" and len(regions):
            return _grown(regions, gap)
        if self.how in ("rest", "nearest"):
            no_mask = torch.full((1,), -1, dtype=torch.int64, device=gap.device)
            return _joined(regions, Regions.from_masks(gap[None], no_mask))
        uncovered = Regions.singletons(grid.grid, gap)
        if self.how == "clusters":
            uncovered = Merge(self.threshold).one(uncovered, grid)
        return _joined(regions, uncovered)


def _joined(regions: Regions, others: Regions) -> Regions:
    """All regions of one grid, `others` behind `regions`."""
    return Regions(
        torch.cat([regions.patch, others.patch]),
        torch.cat([regions.region, others.region + len(regions)]),
        regions.grid,
        torch.cat([regions.source, others.source]),
    )


def _grown(regions: Regions, gap: Bool[Tensor, "*grid"]) -> Regions:
    """The regions after each patch of the gap has joined all regions of its nearest patch."""
    uncovered = gap.flatten().nonzero()[:, 0]
    covered = (regions.counts > 0).flatten().nonzero()[:, 0]
    coordinates = torch.ones(regions.grid, device=gap.device).nonzero().double()
    nearest = covered[torch.cdist(coordinates[uncovered], coordinates[covered]).argmin(1)]
    masks = regions.masks.flatten(1)
    masks[:, uncovered] = masks[:, nearest]
    return Regions.from_masks(masks.view(len(regions), *regions.grid), regions.source)

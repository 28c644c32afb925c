"""What becomes of patches that lie in no region: one rest region, singletons, their neighbours'
region, or clusters.

After: the diagnostic study leaves open what becomes of patches outside all SAM masks; our default
is one rest region.
Differs: nothing known; the paper is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.merge import Merge


@dataclass(frozen=True)
class Cover(RegionStep):
    """Put every valid patch into some region; regions that are there stay in front, new ones
    follow.

    Attributes:
        how: `rest` one region of all uncovered patches; `singletons` a region each; `nearest` the
            region of the nearest covered patch (distance on the grid, ties to the first in raster
            order); `clusters` merged among themselves at `threshold`.
        threshold: cosine for `clusters`.

    Raises:
        ValueError: `clusters` without a threshold, a threshold without `clusters`, or one outside
            [-1, 1].
    """

    how: Literal["rest", "singletons", "nearest", "clusters"] = "rest"
    threshold: float | None = None
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if (self.how == "clusters") != (self.threshold is not None):
            raise ValueError("a threshold goes with how='clusters', and only with it")
        if self.threshold is not None:
            Merge(
                self.threshold
            )  # refuses a threshold that is no cosine now, not at the first image with a gap

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Cover one view."""
        gap = grid.valid & (regions.counts == 0)
        if not bool(gap.any()):
            return regions
        if self.how == "nearest":
            return (
                _grown(regions, gap)
                if len(regions)
                else Regions.from_masks(gap[None], _none(1, gap))
            )
        if self.how == "rest":
            return _joined(regions, Regions.from_masks(gap[None], _none(1, gap)))
        rest = Regions.singletons(grid.grid, gap)
        if self.how == "clusters":
            rest = Merge(self.threshold).one(rest, grid)
        return _joined(regions, rest)


def _none(count: int, like: Tensor) -> Tensor:
    return torch.full((count,), -1, dtype=torch.int64, device=like.device)


def _joined(regions: Regions, more: Regions) -> Regions:
    return Regions(
        torch.cat([regions.patch, more.patch]),
        torch.cat([regions.region, more.region + len(regions)]),
        regions.grid,
        torch.cat([regions.source, more.source]),
    )


def _grown(regions: Regions, gap: Tensor) -> Regions:
    """Each patch of the gap joins all regions of its nearest covered patch."""
    lost, covered = gap.flatten().nonzero()[:, 0], (regions.counts > 0).flatten().nonzero()[:, 0]
    places = torch.ones(regions.grid, device=gap.device).nonzero().double()
    nearest = covered[torch.cdist(places[lost], places[covered]).argmin(1)]
    masks = regions.masks.flatten(1)
    masks[:, lost] = masks[:, nearest]
    return Regions.from_masks(masks.view(len(regions), *regions.grid), regions.source)

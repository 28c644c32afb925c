"""VisionZip-like: the patches CLS attends to most stay as they are, all others are merged into a
few contextual tokens.

After: Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (arXiv
    2412.04467): dominant tokens by CLS attention; of the others every s-th is a target, and each of
    the rest joins the target it is most similar to.
Differs: similarity is of `features`, not of the keys; a contextual token is the pool's mean over
the target and all that joined it. The default share of contextual tokens is the paper's (10 of 64,
20 of 128, 30 of 192); CLS, which the paper counts among the dominant ones, is an option of the head
here. Not run beside the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._attention import cosines, ranked


@dataclass(frozen=True)
class Visionzip(RegionStep):
    """Exactly `k` regions, a partition, by first patch; a source: it stands first in a spec.

    Attributes:
        k: regions in all.
        contextual: how many of them are merged ones; None is 5/32 of k, at least 1.

    Raises:
        ValueError: k below 1 or above the number of patches, contextual outside 1..k, or no
            attention of CLS.
    """

    k: int
    contextual: int | None = None
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one region, got k={self.k}")
        if self.contextual is not None and not 1 <= self.contextual <= self.k:
            raise ValueError(f"contextual must lie in 1..{self.k}, got {self.contextual}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Select and merge in one view; the regions that come in are replaced."""
        patches, _ = ranked(grid, "visionzip")
        if self.k > len(patches):
            raise ValueError(f"cannot make {self.k} regions of {len(patches)} patches")
        contextual = max(1, round(self.k * 5 / 32)) if self.contextual is None else self.contextual
        dominant, others = (
            patches[: self.k - contextual],
            patches[self.k - contextual :].sort().values,
        )
        targets = others[
            torch.arange(contextual, device=others.device) * (len(others) // contextual)
        ]
        joins = targets[cosines(grid, others, targets).argmax(1)]
        joins = torch.where(
            (others[:, None] == targets).any(1), others, joins
        )  # of two equal targets neither joins the other
        labels = torch.full((grid.patches,), -1, dtype=torch.int64, device=patches.device)
        labels[dominant] = dominant
        labels[others] = joins
        first = torch.full_like(labels, grid.patches)
        index = torch.arange(grid.patches, device=patches.device)
        first = first.scatter_reduce(
            0, labels.clamp(min=0), torch.where(labels >= 0, index, grid.patches), "amin"
        )
        return Regions.from_labels(
            torch.where(labels >= 0, first[labels.clamp(min=0)], -1).view(grid.grid)
        )

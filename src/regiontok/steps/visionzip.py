"""VisionZip-like: the most attended patches as they are, all others as a few contextual tokens.

After: Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (arXiv
    2412.04467): dominant tokens are chosen by the attention of CLS; of all other tokens every s-th
    is a target, and each of the remaining ones joins the target it is most similar to.
Differs: similarity is that of `features`, not of the keys; a contextual token is the pool's mean
over the target and all that joined it. The default share of contextual tokens is the paper's (10 of
64, 20 of 128, 30 of 192); CLS, which the paper counts among the dominant tokens, is an option of
the head here. It was not run beside the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._attention import RANKS, Rank, patch_cosines, ranked_patches
from regiontok.system.choices import check_choice


@dataclass(frozen=True)
class Visionzip(RegionStep):
    """Exactly `k` regions, a partition, by first patch; a source, so it stands first in a spec.

    Attributes:
        k: number of regions.
        contextual: number of them that are merged ones; None takes 5/32 of k, at least 1.
        by: what ranks patches: "attention" of CLS, or "salience", their distance from the mean
            patch, for encoders without CLS.

    Raises:
        ValueError: If k is below 1 or above the number of patches, if contextual lies outside
            1..k, or if attention ranks and the encoder gave none.
    """

    k: int
    contextual: int | None = None
    by: Rank = "attention"
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one region, got k={self.k}")
        if self.contextual is not None and not 1 <= self.contextual <= self.k:
            raise ValueError(f"contextual must lie in 1..{self.k}, got {self.contextual}")
        check_choice("ranking", self.by, RANKS)

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Select and merge in one view; the regions that come in are replaced."""
        ranked, _ = ranked_patches(grid, "visionzip", self.by)
        device = ranked.device
        if self.k > len(ranked):
            raise ValueError(f"cannot make {self.k} regions of {len(ranked)} patches")
        contextual = max(1, round(self.k * 5 / 32)) if self.contextual is None else self.contextual
        dominant = ranked[: self.k - contextual]
        others = ranked[self.k - contextual :].sort().values
        targets = others[torch.arange(contextual, device=device) * (len(others) // contextual)]
        joined = targets[patch_cosines(grid, others, targets).argmax(1)]
        # A target stays itself, so that of two equal targets neither joins the other.
        joined = torch.where((others[:, None] == targets).any(1), others, joined)
        labels = torch.full((grid.patches,), -1, dtype=torch.int64, device=device)
        labels[dominant] = dominant
        labels[others] = joined
        patch = torch.arange(grid.patches, device=device)
        first = torch.full_like(labels, grid.patches).scatter_reduce(
            0, labels.clamp(min=0), torch.where(labels >= 0, patch, grid.patches), "amin"
        )
        by_first = torch.where(labels >= 0, first[labels.clamp(min=0)], -1)
        return Regions.from_labels(by_first.view(grid.grid))

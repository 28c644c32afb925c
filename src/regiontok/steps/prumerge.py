"""PruMerge-like: the patches CLS attends to most, each with its most similar, and all others.

After: Shang et al., "LLaVA-PruMerge" (arXiv 2403.15388): the attention of CLS chooses the tokens
    that stay (without a budget: those above the third quartile by more than 1.5 interquartile
    ranges), and each takes in its nearest neighbours; the paper's code adds a token of all others.
Differs: a region is a list of patches, so a token is the pool's mean of centre and neighbours,
where the paper adds neighbours weighted by attention to the centre; neighbours are compared by
`features`, not by the keys of the last block; attention is the encoder's mean over heads, where the
paper's code takes one softmax over the whole width; with `k` the number of tokens is exact. It was
not run beside the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._attention import RANKS, Rank, patch_cosines, ranked_patches
from regiontok.system.choices import check_choice

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Prumerge(RegionStep):
    """Overlapping regions around the most attended patches; a source, so it stands first in a spec.

    Attributes:
        k: number of regions: k - 1 around centres, which come in raster order, and the region of
            all patches that are no centre. None takes the outliers of each image as centres (if it
            has none, there is one region of all patches).
        neighbours: number of patches that each centre takes in; they may be centres themselves.
        by: what ranks patches: "attention" of CLS, or "salience", their distance from the mean
            patch, for encoders without CLS.

    Raises:
        ValueError: If k is below 1 or above the number of patches, if neighbours is below 0, or if
            attention ranks and the encoder gave none.
    """

    k: int | None = None
    neighbours: int = 32
    by: Rank = "attention"
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"needs at least one region, got k={self.k}")
        if self.neighbours < 0:
            raise ValueError(f"neighbours must be at least 0, got {self.neighbours}")
        check_choice("ranking", self.by, RANKS)

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Select and merge in one view; the regions that come in are replaced."""
        ranked, scores = ranked_patches(grid, "prumerge", self.by)
        count = outliers(scores) if self.k is None else self.k - 1
        if count >= len(ranked):
            raise ValueError(f"cannot make {count + 1} regions of {len(ranked)} patches")
        centres = ranked[:count].sort().values
        patches = ranked.sort().values
        similarity = patch_cosines(grid, centres, patches)
        similarity[centres[:, None] == patches] = torch.inf  # the centre itself comes first
        order = similarity.argsort(dim=1, descending=True, stable=True)
        members = patches[order[:, : self.neighbours + 1]]
        masks = torch.zeros(count + 1, grid.patches, dtype=torch.bool, device=ranked.device)
        masks[torch.arange(count, device=ranked.device)[:, None], members] = True
        masks[count, ranked[count:]] = True
        no_mask = torch.full((count + 1,), -1, device=ranked.device)
        return Regions.from_masks(masks.view(-1, *grid.grid), no_mask)


def outliers(attention: Float[Tensor, "n"]) -> int:
    """How many lie above the third quartile by more than 1.5 interquartile ranges.

    >>> outliers(torch.tensor([9.0, 4.0, 3.0, 2.0, 1.0]))
    1
    """
    quartiles = torch.tensor([0.25, 0.75], dtype=attention.dtype, device=attention.device)
    first, third = torch.quantile(attention, quartiles)
    return int((attention > third + 1.5 * (third - first)).sum())

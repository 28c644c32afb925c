"""PruMerge-like: the patches CLS attends to most, each merged with its most similar patches, and
one token of all others.

After: Shang et al., "LLaVA-PruMerge" (arXiv 2403.15388): CLS attention chooses the tokens that stay
    (without a budget: those above the third quartile by more than 1.5 interquartile ranges), each
    takes its nearest neighbours in; its code adds a token of the rest.
Differs: a region is a list of patches, so a token is the pool's mean of centre and neighbours,
where the paper adds neighbours weighted by attention to the centre; neighbours are compared by
`features`, not by the keys of the last block; attention is the encoder's mean over heads, where its
code takes one softmax over the whole width; with `k` the number of tokens is exact. Not run beside
the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._attention import cosines, ranked


@dataclass(frozen=True)
class Prumerge(RegionStep):
    """Overlapping regions around the most attended patches; a source: it stands first in a spec.

    Attributes:
        k: regions in all: k - 1 centres by raster order, then the region of all other patches. None
            takes the outliers of this image (of none, the region of all patches).
        neighbours: patches that each centre takes in, other centres included.

    Raises:
        ValueError: k below 1 or above the number of patches, neighbours below 0, or no attention of
            CLS.
    """

    k: int | None = None
    neighbours: int = 32
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"needs at least one region, got k={self.k}")
        if self.neighbours < 0:
            raise ValueError(f"neighbours must be at least 0, got {self.neighbours}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Select and merge in one view; the regions that come in are replaced."""
        patches, attention = ranked(grid, "prumerge")
        count = outliers(attention) if self.k is None else self.k - 1
        if count >= len(patches):
            raise ValueError(f"cannot make {count + 1} regions of {len(patches)} patches")
        centres = patches[:count].sort().values
        others = patches.sort().values
        near = cosines(grid, centres, others)
        near[centres[:, None] == others[None, :]] = torch.inf  # the centre itself comes first
        own = near.argsort(dim=1, descending=True, stable=True)[:, : self.neighbours + 1]
        masks = torch.zeros(count + 1, grid.patches, dtype=torch.bool, device=patches.device)
        masks[torch.arange(count, device=patches.device)[:, None], others[own]] = True
        masks[count, patches[count:]] = True
        return Regions.from_masks(
            masks.view(-1, *grid.grid), torch.full((count + 1,), -1, device=patches.device)
        )


def outliers(attention: Tensor) -> int:
    """How many lie above the third quartile by more than 1.5 interquartile ranges.

    >>> outliers(torch.tensor([9.0, 4.0, 3.0, 2.0, 1.0]))
    1
    """
    first, third = torch.quantile(
        attention, torch.tensor([0.25, 0.75], dtype=attention.dtype, device=attention.device)
    )
    return int((attention > third + 1.5 * (third - first)).sum())

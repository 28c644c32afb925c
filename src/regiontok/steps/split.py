"""Split every large region by DBSCAN on its patch features, without regard to position.

After: diagnostic study, section 4.2 and appendix E.2 (row D6: masks of at least 10 patches, DBSCAN
with L2 on L2-normalised features, eps 0.7, min_samples 3).
Differs: where noise points go is not said there: `noise="one"` makes one region of all noise of a
segment. eps 0.7 on unit vectors is a cosine distance of 0.245 (the text calls it "equivalent to
cosine"). All segments of a view are clustered at once, on the features' own device, in float64; the
clusters are those of scikit-learn's DBSCAN, which `by="sklearn"` calls itself. The study took cuML
where it is installed: that is `by="cuml"`, checked against its signature only; a patch near two
clusters and core of neither may go to the other there. Patches of zeros stay zeros: they are 0 from
each other and 1 from any other patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.kernels.density import (
    Pairs,
    density_clusters,
    library_clusters,
    nearest_clusters,
)


@dataclass(frozen=True)
class Split(RegionStep):
    """Split regions by density; overlapping regions are split one by one.

    Attributes:
        eps: largest L2 distance of neighbours, on L2-normalised features.
        min_samples: neighbours (itself counted) that make a patch a core point.
        min_patches: regions with fewer patches stay whole.
        noise: what becomes of noise: `one` region for all noise of a segment, `singletons`, or
            `nearest`: the cluster of the closest clustered patch in feature space. A segment of
            noise alone stays whole, except under `singletons`.
        by: who clusters: this module, all segments at once, or a library's DBSCAN one by one.

    Raises:
        ValueError: eps or a count out of range.
    """

    eps: float = 0.7
    min_samples: int = 3
    min_patches: int = 10
    noise: Literal["one", "singletons", "nearest"] = "one"
    by: Literal["own", "sklearn", "cuml"] = "own"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.eps > 0 or self.min_samples < 1 or self.min_patches < 1:
            raise ValueError(
                f"eps must be positive and counts at least 1, got eps={self.eps}, "
                f"min_samples={self.min_samples}, min_patches={self.min_patches}"
            )

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Split one view; parts of a region stand where it stood, by first patch, and keep its
        `source`.

        Raises:
            MissingPackage: `by` names a library that is not installed.
        """
        if not len(regions):
            return regions
        large = (regions.sizes >= self.min_patches)[regions.region]
        part = regions.starts[
            regions.region
        ]  # a part is named by one of its memberships: whole regions by their first
        part[large] = self._parts(regions, grid, large.nonzero()[:, 0])
        first = torch.full_like(part, len(part)).scatter_reduce(
            0, part, torch.arange(len(part), device=part.device), "amin"
        )
        _, region = first[part].unique(return_inverse=True)
        order = torch.argsort(region, stable=True)
        source = torch.empty(int(region.max()) + 1, dtype=torch.int64, device=part.device)
        source[region] = regions.source[regions.region]
        return Regions(regions.patch[order], region[order], regions.grid, source)

    def _parts(self, regions: Regions, grid: PatchGrid, at: Tensor) -> Tensor:
        """For the memberships `at` of large regions: a membership that names the part each falls
        into."""
        if not len(at):
            return at
        features = grid.features.flatten(0, -2).detach().double()
        unit = torch.nn.functional.normalize(features, dim=1, eps=1e-12)
        _, segment = regions.region[at].unique(return_inverse=True)
        patch, pairs = regions.patch[at], None
        if self.by == "own":
            pairs = Pairs.within(segment, patch, unit)
            label = density_clusters(pairs, self.eps, self.min_samples)
        else:
            label = library_clusters(self.by, segment, unit[patch], self.eps, self.min_samples)
        if self.noise == "nearest":
            label = nearest_clusters(pairs or Pairs.within(segment, patch, unit), label)
        lost = label < 0
        if self.noise == "singletons":
            alone = torch.arange(len(at), device=at.device)
        else:  # the first noise point of the segment names them all
            first = torch.full((int(segment[-1]) + 1,), len(at), device=at.device)
            noisy = lost.nonzero()[:, 0]
            alone = first.scatter_reduce(0, segment[noisy], noisy, "amin")[segment]
        return at[torch.where(lost, alone, label)]

"""Split every large region by DBSCAN on its patch features, without regard to position.

After: diagnostic study, section 4.2 and appendix E.2 (row D6: masks of at least 10 patches, DBSCAN
with L2 on L2-normalised features, eps 0.7, min_samples 3).
Differs: the study does not say where noise points go: `noise="one"` makes one region of all noise
of a segment. Its eps 0.7 on unit vectors is a cosine distance of 0.245 (the text calls it
"equivalent to cosine"). All segments of a view are clustered at once, on the features' own device,
in float64; the clusters are those of scikit-learn's DBSCAN, which `by="sklearn"` calls itself. The
study took cuML where it is installed: that is `by="cuml"`, checked against its signature only; with
it, a patch near two clusters and core of neither may go to the other one. Patches of zeros stay
zeros: their distance is 0 to each other and 1 to any other patch. `least` is ours: where DBSCAN
leaves fewer regions than a budget asks for (33 to 98 on five photos, and the study's counts go up
to 159), the regions of largest scatter are halved on (`kernels/bisect.py`), down to single patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.kernels.bisect import bisected
from regiontok.steps.kernels.density import (
    Points,
    density_clusters,
    library_clusters,
    nearest_clusters,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class Split(RegionStep):
    """Split regions by density; overlapping regions are split one by one.

    Attributes:
        eps: largest L2 distance of neighbours, on L2-normalised features.
        min_samples: number of neighbours (the patch itself counted) that make a patch a core point.
        min_patches: regions with fewer patches stay whole.
        noise: "one" makes one region of all noise of a segment, "singletons" makes every noise
            patch a region, "nearest" gives it to the cluster of the closest clustered patch in
            feature space. A segment of noise alone stays whole, except under "singletons".
        by: "own" clusters all segments at once in this package; "sklearn" and "cuml" call that
            library's DBSCAN for one segment after the other.
        least: how many regions there are at least: where there are fewer, those that vary most are
            split further, also small ones. None leaves what DBSCAN gives. ``split(least=144) |
            merge(k=144)`` meets a budget exactly.

    Raises:
        ValueError: If eps is not positive, or a count is below 1; at a view, if `least` is above
            the number of its patches in regions.
    """

    eps: float = 0.7
    min_samples: int = 3
    min_patches: int = 10
    noise: Literal["one", "singletons", "nearest"] = "one"
    by: Literal["own", "sklearn", "cuml"] = "own"
    least: int | None = None
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        least = 1 if self.least is None else self.least
        if not self.eps > 0 or min(self.min_samples, self.min_patches, least) < 1:
            raise ValueError(
                f"eps must be positive and counts at least 1, got eps={self.eps}, "
                f"min_samples={self.min_samples}, min_patches={self.min_patches}, "
                f"least={self.least}"
            )

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Split one view.

        The parts of a region stand where it stood, by first patch, and keep its `source`.

        Raises:
            MissingPackage: If `by` names a library that is not installed.
        """
        if not len(regions):
            return regions
        large = (regions.sizes >= self.min_patches)[regions.region]
        # A part is named by one of its memberships; a region that stays whole by its first.
        name = regions.starts[regions.region]
        name[large] = self._part_names(regions, grid, large.nonzero()[:, 0])
        if self.least is not None and len(name.unique()) < self.least:
            name = bisected(name, _unit_features(grid)[regions.patch], self.least)
        first = torch.full_like(name, len(name)).scatter_reduce(
            0, name, torch.arange(len(name), device=name.device), "amin"
        )
        _, region = first[name].unique(return_inverse=True)
        order = torch.argsort(region, stable=True)
        source = torch.empty(int(region.max()) + 1, dtype=torch.int64, device=name.device)
        source[region] = regions.source[regions.region]
        return Regions(regions.patch[order], region[order], regions.grid, source)

    def _part_names(
        self, regions: Regions, grid: PatchGrid, memberships: Int[Tensor, "m"]
    ) -> Int[Tensor, "m"]:
        """For each membership of a large region the membership that names its part."""
        if not len(memberships):
            return memberships
        unit = _unit_features(grid)
        _, segment = regions.region[memberships].unique(return_inverse=True)
        points = Points(segment, regions.patch[memberships], unit)
        if self.by == "own":
            label = density_clusters(points, self.eps, self.min_samples)
        else:
            rows = unit[points.patch]
            label = library_clusters(self.by, segment, rows, self.eps, self.min_samples)
        if self.noise == "nearest":
            label = nearest_clusters(points, label)
        is_noise = label < 0
        if self.noise == "singletons":
            noise_name = torch.arange(len(memberships), device=memberships.device)
        else:  # the first noise point of a segment names them all
            noisy = is_noise.nonzero()[:, 0]
            first = torch.full((int(segment[-1]) + 1,), len(memberships), device=label.device)
            noise_name = first.scatter_reduce(0, segment[noisy], noisy, "amin")[segment]
        return memberships[torch.where(is_noise, noise_name, label)]


def _unit_features(grid: PatchGrid) -> Float[Tensor, "n d"]:
    """The features of all patches in float64, each of length 1."""
    features = grid.features.flatten(0, -2).detach().double()
    return torch.nn.functional.normalize(features, dim=1, eps=1e-12)

"""DBSCAN over many segments at once, without a loop over segments or patches; on the device of its
input. Or by a library, one by one.

After: Ester et al. 1996; cluster numbers, border points and all as scikit-learn's DBSCAN gives them
(tested).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every ordered pair of points of the same segment, a point with itself included.

    Attributes:
        point, other: `[p]` int64, indices of points.
        distance: `[p]`.
        count: m, how many points there are.
    """

    point: Int[Tensor, "p"]
    other: Int[Tensor, "p"]
    distance: Float[Tensor, "p"]
    count: int

    @classmethod
    def within(
        cls, segment: Int[Tensor, "m"], patch: Int[Tensor, "m"], features: Float[Tensor, "n d"]
    ) -> Pairs:
        """Pairs of `m` points sorted by segment; the L2 distance of their patches' features, by one
        matrix product in float64."""
        sizes = torch.bincount(segment)
        first = sizes.cumsum(0) - sizes
        others = sizes[segment]  # of each point
        point = torch.repeat_interleave(torch.arange(len(segment), device=segment.device), others)
        skipped = torch.repeat_interleave(others.cumsum(0) - others, others)
        other = torch.arange(len(point), device=segment.device) - skipped + first[segment][point]
        used, slot = patch.unique(return_inverse=True)
        rows = features[used].double()
        square = rows.square().sum(1)
        squared = square[:, None] + square - 2 * rows @ rows.T
        return cls(
            point, other, squared.clamp(min=0).sqrt()[slot[point], slot[other]], len(segment)
        )


def density_clusters(pairs: Pairs, eps: float, min_samples: int) -> Int[Tensor, "m"]:
    """The cluster of each point, named by its first core point; -1 for noise.

    A core point has at least `min_samples` points within `eps`, itself counted; core points within
    eps share a cluster; a point that is none joins the first cluster that has a core point within
    eps.
    """
    near = pairs.distance <= eps
    point, other = pairs.point[near], pairs.other[near]
    core = torch.bincount(point, minlength=pairs.count) >= min_samples
    linked = core[point] & core[other]
    label = _components(point[linked], other[linked], pairs.count)
    touched = core[other] & ~core[point]
    border = torch.full_like(label, pairs.count).scatter_reduce(
        0, point[touched], label[other[touched]], "amin"
    )
    return torch.where(core, label, torch.where(border < pairs.count, border, -1))


def library_clusters(
    library: Literal["sklearn", "cuml"],
    segment: Int[Tensor, "m"],
    points: Float[Tensor, "m d"],
    eps: float,
    min_samples: int,
) -> Int[Tensor, "m"]:
    """The cluster of each point by a library's DBSCAN, a call a segment, named by its first member;
    -1 for noise.

    `segment` is sorted. cuML gets points on the GPU if they lie there, scikit-learn as a NumPy
    array.

    Raises:
        MissingPackage: the library is not installed.
    """
    maker = (
        need("sklearn.cluster", extra="sklearn")
        if library == "sklearn"
        else need("cuml", extra="cuml")
    )
    settings = {} if library == "sklearn" else {"output_type": "numpy"}
    parts, first = [], 0
    for rows in points.split(torch.bincount(segment).tolist()):
        own = rows if library == "cuml" and rows.is_cuda else rows.cpu().numpy()
        found = maker.DBSCAN(
            eps=eps, min_samples=min_samples, metric="euclidean", **settings
        ).fit_predict(own)
        label = torch.as_tensor(found, dtype=torch.int64)
        at = torch.arange(len(label))
        names = torch.full_like(at, len(label)).scatter_reduce(
            0, label.clamp(min=0), torch.where(label < 0, len(label), at), "amin"
        )
        parts.append(torch.where(label < 0, -1, names[label.clamp(min=0)] + first))
        first += len(label)
    return torch.cat(parts).to(points.device)


def nearest_clusters(pairs: Pairs, label: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Labels with each noise point in the cluster of its nearest clustered point (ties: the first);
    alone among noise it stays noise."""
    wanted = (label[pairs.point] < 0) & (label[pairs.other] >= 0)
    point, other, distance = pairs.point[wanted], pairs.other[wanted], pairs.distance[wanted]
    least = torch.full(
        (pairs.count,), torch.inf, dtype=distance.dtype, device=label.device
    ).scatter_reduce(0, point, distance, "amin")
    closest = distance == least[point]
    at = torch.full_like(label, pairs.count).scatter_reduce(
        0, point[closest], other[closest], "amin"
    )
    found = at < pairs.count
    return torch.where(found, label[torch.where(found, at, 0)], label)


def _components(one: Int[Tensor, "e"], other: Int[Tensor, "e"], count: int) -> Int[Tensor, "m"]:
    """The lowest point of each point's connected component, by passing on the lowest and jumping
    ahead."""
    label = torch.arange(count, device=one.device)
    while True:
        lower = label.scatter_reduce(0, one, label[other], "amin")
        lower = lower[lower]
        if torch.equal(lower, label):
            return label
        label = lower

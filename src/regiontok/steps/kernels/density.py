"""DBSCAN over many segments at once, without a loop over segments or patches.

It runs on the device of its input. A library's DBSCAN can be called instead, segment by segment.

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
        point, other: `[p]` int64, the indices of the two points.
        distance: `[p]`, their L2 distance.
        count: m, the number of points.
    """

    point: Int[Tensor, "p"]
    other: Int[Tensor, "p"]
    distance: Float[Tensor, "p"]
    count: int

    @classmethod
    def within(
        cls, segment: Int[Tensor, "m"], patch: Int[Tensor, "m"], features: Float[Tensor, "n d"]
    ) -> Pairs:
        """The pairs of points that are sorted by segment.

        The distance of two points is that of their patches' features, computed for all pairs of
        patches by one matrix product in float64.
        """
        sizes = torch.bincount(segment)
        first = sizes.cumsum(0) - sizes
        partners = sizes[segment]  # of each point
        point = torch.repeat_interleave(torch.arange(len(segment), device=segment.device), partners)
        pairs_in_front = torch.repeat_interleave(partners.cumsum(0) - partners, partners)
        rank = torch.arange(len(point), device=segment.device) - pairs_in_front
        other = rank + first[segment][point]
        used, row = patch.unique(return_inverse=True)
        rows = features[used].double()
        square = rows.square().sum(1)
        squared = square[:, None] + square - 2 * rows @ rows.T
        distance = squared.clamp(min=0).sqrt()[row[point], row[other]]
        return cls(point, other, distance, len(segment))


def density_clusters(pairs: Pairs, eps: float, min_samples: int) -> Int[Tensor, "m"]:
    """The cluster of each point, named by its first core point; -1 for noise.

    A core point has at least `min_samples` points within `eps`, itself counted. Core points within
    eps of each other share a cluster; any other point joins the first cluster that has a core point
    within eps.
    """
    close = pairs.distance <= eps
    point, other = pairs.point[close], pairs.other[close]
    core = torch.bincount(point, minlength=pairs.count) >= min_samples
    linked = core[point] & core[other]
    label = _components(point[linked], other[linked], pairs.count)
    touches_core = core[other] & ~core[point]
    border = torch.full_like(label, pairs.count).scatter_reduce(
        0, point[touches_core], label[other[touches_core]], "amin"
    )
    return torch.where(core, label, torch.where(border < pairs.count, border, -1))


def library_clusters(
    library: Literal["sklearn", "cuml"],
    segment: Int[Tensor, "m"],
    points: Float[Tensor, "m d"],
    eps: float,
    min_samples: int,
) -> Int[Tensor, "m"]:
    """The cluster of each point by a library's DBSCAN, named by its first member; -1 for noise.

    Args:
        library: "sklearn", which gets points as a NumPy array, or "cuml", which gets them on the
            GPU if they lie there.
        segment: segment of each point, ascending; each segment is a call of its own.
        points: features of the points.
        eps: largest distance of neighbours.
        min_samples: number of neighbours that make a core point.

    Raises:
        MissingPackage: If the library is not installed.
    """
    if library == "sklearn":
        dbscan, settings = need("sklearn.cluster", extra="sklearn").DBSCAN, {}
    else:
        dbscan, settings = need("cuml", extra="cuml").DBSCAN, {"output_type": "numpy"}
    labels, first = [], 0
    for rows in points.split(torch.bincount(segment).tolist()):
        array = rows if library == "cuml" and rows.is_cuda else rows.cpu().numpy()
        clustering = dbscan(eps=eps, min_samples=min_samples, metric="euclidean", **settings)
        label = torch.as_tensor(clustering.fit_predict(array), dtype=torch.int64)
        member = torch.where(label < 0, len(label), torch.arange(len(label)))
        first_member = torch.full_like(label, len(label)).scatter_reduce(
            0, label.clamp(min=0), member, "amin"
        )
        labels.append(torch.where(label < 0, -1, first_member[label.clamp(min=0)] + first))
        first += len(label)
    return torch.cat(labels).to(points.device)


def nearest_clusters(pairs: Pairs, label: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Labels with each noise point in the cluster of its nearest clustered point.

    Of equally near points the first one counts. In a segment of noise alone points stay noise.
    """
    candidate = (label[pairs.point] < 0) & (label[pairs.other] >= 0)
    point, other = pairs.point[candidate], pairs.other[candidate]
    distance = pairs.distance[candidate]
    least = torch.full((pairs.count,), torch.inf, dtype=distance.dtype, device=label.device)
    least = least.scatter_reduce(0, point, distance, "amin")
    closest = distance == least[point]
    neighbour = torch.full_like(label, pairs.count).scatter_reduce(
        0, point[closest], other[closest], "amin"
    )
    has_neighbour = neighbour < pairs.count
    return torch.where(has_neighbour, label[torch.where(has_neighbour, neighbour, 0)], label)


def _components(point: Int[Tensor, "e"], other: Int[Tensor, "e"], count: int) -> Int[Tensor, "m"]:
    """The lowest point of each point's connected component, over edges given both ways.

    Each turn passes the lowest label on to neighbours and then jumps to that label's own.
    """
    label = torch.arange(count, device=point.device)
    while True:
        lower = label.scatter_reduce(0, point, label[other], "amin")
        lower = lower[lower]
        if torch.equal(lower, label):
            return label
        label = lower

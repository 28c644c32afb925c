"""DBSCAN over many segments at once, without a loop over segments or patches.

It runs on the device of its input. Distances are computed block by block, so memory grows with the
number of points and not with its square: 96 x 96 patches in one segment took 5.6 GiB as a list of
all pairs, and take 0.6 GiB, torch itself included. A library's DBSCAN can be called instead,
segment by segment.

After: Ester et al. 1996; cluster numbers, border points and all as scikit-learn's DBSCAN gives them
(tested).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# Distances that are held at once: 38 MiB in float64, and a few times that on the way. Blocks below
# 32 MiB may stay with the C library's heap when they are freed, in pieces that fit nothing else.
BLOCK = 5_000_000


@dataclass(frozen=True, eq=False)
class Block:
    """The distances of consecutive points to all points of their segments.

    Attributes:
        points: the points of the rows.
        others: the points of the columns.
        same: `[p o]`, True where both points lie in one segment.
        distance: `[p o]`, the L2 distance of the features.
    """

    points: slice
    others: slice
    same: Bool[Tensor, "p o"]
    distance: Float[Tensor, "p o"]


@dataclass(frozen=True, eq=False)
class Points:
    """The patches of segments as points, segment by segment; a patch of two segments is two points.

    Attributes:
        segment: `[m]` int64, the segment of each point, ascending.
        patch: `[m]` int64, the patch that each point stands for.
        features: `[n d]`, features of the patches.
    """

    segment: Int[Tensor, "m"]
    patch: Int[Tensor, "m"]
    features: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.segment)

    def blocks(self) -> Iterator[Block]:
        """All pairs of points of one segment, as blocks of at most `BLOCK` distances, or one row.

        A point stands in the rows of one block, together with all points of its segment.
        """
        sizes = torch.bincount(self.segment)
        ends = sizes.cumsum(0)
        starts, stops = (ends - sizes)[self.segment].tolist(), ends[self.segment].tolist()
        first = 0
        while first < len(self):
            last = first + 1
            while last < len(self) and (last + 1 - first) * (stops[last] - starts[first]) <= BLOCK:
                last += 1
            points, others = slice(first, last), slice(starts[first], stops[last - 1])
            same = self.segment[points, None] == self.segment[None, others]
            yield Block(points, others, same, self._distances(points, others))
            first = last

    def _distances(self, points: slice, others: slice) -> Float[Tensor, "p o"]:
        """The distances of a block, in memory that the next block takes again."""
        if self._matrix is not None:
            return self._matrix[self._rows[points, None], self._rows[None, others]]
        rows = self.features[self.patch[points]], self.features[self.patch[others]]
        return _distances(*rows, self._room)

    @cached_property
    def _room(self) -> tuple[Tensor, Tensor]:
        """Two tensors that blocks are computed in."""
        none = self.features.new_empty(0, dtype=torch.float64)
        return none, none.clone()

    @cached_property
    def _rows(self) -> Int[Tensor, "m"]:
        """The row of each point in `_matrix`."""
        return self.patch.unique(return_inverse=True)[1]

    @cached_property
    def _matrix(self) -> Float[Tensor, "u u"] | None:
        """The distances of all patches that are used, if they fit into a block."""
        patches = self.patch.unique()
        if len(patches) ** 2 > BLOCK:
            return None
        return _distances(self.features[patches], self.features[patches])


def _distances(
    rows: Float[Tensor, "p d"],
    others: Float[Tensor, "o d"],
    room: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "p o"]:
    """The L2 distance of each row to each other one, in float64.

    Args:
        rows: features.
        others: the other features.
        room: tensors of float64 that the work is done in; one of them comes back.
    """
    rows, others = rows.double(), others.double()
    products, squared = room or (rows.new_empty(0), rows.new_empty(0))
    torch.mm(rows, others.T, out=products.resize_(len(rows), len(others)))
    squared.resize_(products.shape)
    torch.add(rows.square().sum(1)[:, None], others.square().sum(1), out=squared)
    return squared.sub_(products.mul_(2)).clamp_(min=0).sqrt_()


def density_clusters(points: Points, eps: float, min_samples: int) -> Int[Tensor, "m"]:
    """The cluster of each point, named by its first core point; -1 for noise.

    A core point has at least `min_samples` points within `eps`, itself counted. Core points within
    eps of each other share a cluster; any other point joins the first cluster that has a core point
    within eps.
    """
    count, device = len(points), points.segment.device
    core = torch.zeros(count, dtype=torch.bool, device=device)
    for block in points.blocks():
        core[block.points] = _close(block, eps).sum(1) >= min_samples
    label = torch.arange(count, device=device)
    border_points, border_cores = [], []  # few: a point that is no core has few neighbours
    for block in points.blocks():
        close = _close(block, eps) & core[block.others]
        # what is one component already needs no edge
        apart = label[block.points, None] != label[None, block.others]
        close &= apart | ~core[block.points, None]
        point, other = close.nonzero().T
        point, other = point + block.points.start, other + block.others.start
        linked = core[point]
        border_points.append(point[~linked])
        border_cores.append(other[~linked])
        label = _joined(label, point[linked], other[linked])
    point, other = torch.cat(border_points), torch.cat(border_cores)
    border = torch.full_like(label, count).scatter_reduce(0, point, label[other], "amin")
    return torch.where(core, label, torch.where(border < count, border, -1))


def _close(block: Block, eps: float) -> Bool[Tensor, "p o"]:
    return block.same & (block.distance <= eps)


def _joined(
    label: Int[Tensor, "m"], point: Int[Tensor, "e"], other: Int[Tensor, "e"]
) -> Int[Tensor, "m"]:
    """Labels in which the two ends of each edge have become one component."""
    if not len(point):
        return label
    ends, other_ends = label[point], label[other]
    both_ways = torch.cat([ends, other_ends]), torch.cat([other_ends, ends])
    return _components(*both_ways, len(label))[label]


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


def nearest_clusters(points: Points, label: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Labels with each noise point in the cluster of its nearest clustered point.

    Of equally near points the first one counts. In a segment of noise alone points stay noise.
    """
    result = label.clone()
    clustered = label >= 0
    for block in points.blocks():
        candidate = block.same & clustered[block.others]
        distance = block.distance.masked_fill(~candidate, torch.inf)
        least, nearest = distance.min(1)
        # min() may name any of several equal ones: the first is wanted
        nearest = (distance == least[:, None]).to(torch.uint8).argmax(1)
        moved = ~clustered[block.points] & candidate.any(1)
        cluster = label[block.others][nearest]
        result[block.points] = torch.where(moved, cluster, label[block.points])
    return result


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

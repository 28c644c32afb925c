"""The sequence of merges, its cuts, and what the kernel is given: the numpy face of exact greedy merging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.steps._greedy import BITS, NOTHING, ONE, merge

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class MergeSequence:
    """Every merge in the order made; a cut of it is a partition.

    Heights are not monotone: a merge can bring its mean nearer to a third region than any pair was before.

    Attributes:
        start: [n] int64, the first patch of the region each patch started in, -1 = in none.
        pairs: [s 2] int64, first patches of the two regions merged; the lower one first: it names the union.
        heights: [s] float64, their cosine, a multiple of 2^-20.
        floor: the lowest threshold it can be cut at: recording stopped there; -inf = every merge is recorded.
    """

    start: Int[np.ndarray, "n"]
    pairs: Int[np.ndarray, "s 2"]
    heights: Float[np.ndarray, "s"]
    floor: float = -math.inf

    def labels(self, threshold: float | None = None, k: int | None = None) -> Int[np.ndarray, "n"]:
        """Region of each patch, numbered from 0 by first patch, -1 = in none.

        With `threshold`: before the first height below it; with `k`: as soon as k regions are left; with neither: after every merge.

        >>> merge_sequence(np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[0, 1], [1, 2]]), np.arange(3)).labels(k=2)
        array([0, 1, 1])

        Raises:
            ValueError: both are given; the sequence was not recorded that far; k is above the starting regions.
        """
        done = len(self.pairs)
        if threshold is not None:
            done = self._cut(_one_stop(threshold, k))
        elif k is not None:
            most = len(np.unique(self.start[self.start >= 0]))
            if not most - done <= k <= most:
                raise ValueError(f"k={k} regions: this sequence goes from {most} regions down to {most - done}")
            done = most - k
        root = np.arange(len(self.start))
        root[self.pairs[:done, 1]] = self.pairs[:done, 0]
        while not np.array_equal(further := root[root], root):
            root = further
        inside = self.start >= 0
        labels = np.full(len(self.start), -1, dtype=np.int64)
        labels[inside] = np.unique(root[self.start[inside]], return_inverse=True)[1]
        return labels

    def _cut(self, threshold: float) -> int:
        below = np.flatnonzero(self.heights < threshold)
        if len(below) == 0 and threshold < self.floor:
            raise ValueError(
                f"threshold={threshold}: this sequence was recorded down to {self.floor} only; merge again, further"
            )
        return int(below[0]) if len(below) else len(self.heights)


def merge_sequence(
    features: Float[np.ndarray, "n d"],
    edges: Int[np.ndarray, "e 2"],
    start: Int[np.ndarray, "n"],
    *,
    threshold: float | None = None,
    k: int | None = None,
) -> MergeSequence:
    """Merge the most similar pair of adjacent regions again and again.

    Args:
        features: [n d] float32 or float64, finite; at most 2^20 patches.
        edges: [e 2] patches that touch, on any grid; order, direction and repeats do not matter.
        start: [n] region of each patch, any ids; -1 = in no region: never merged, its edges are ignored.
        threshold: merge while the similarity (cosine of the means, rounded to 2^-20) is at least this.
        k: merge until exactly k regions are left. With neither: until no two regions touch.

    Two regions without direction (zero, or patches that cancel to below 2^-20 of their lengths) are alike (1), one of them is
    unlike (0) any other. Of equally similar pairs the one with the lowest (first patch, first patch) goes first.

    Raises:
        TypeError: features that are not float32 or float64, edges or start that are not integers.
        ValueError: shapes that do not fit, NaN or infinite features, both stops, a k that cannot be reached.

    >>> merge_sequence(np.array([[1.0, 0], [1, 1], [0, 1]]), grid_edges((1, 3)), np.arange(3), threshold=0.7).pairs
    array([[0, 1]])
    """
    _check(features, edges, start)
    ids, first, inverse = np.unique(start, return_index=True, return_inverse=True)
    canonical = np.where(start == -1, -1, first[inverse])
    most = len(ids) - int(-1 in ids)
    lowest, spare = NOTHING, most
    if threshold is not None:
        lowest = math.ceil(max(-1.0, min(_one_stop(threshold, k), 2.0)) * ONE)
    elif k is not None:
        if k > most:
            raise ValueError(f"k={k} regions cannot be reached: the start has {most}, and merging makes fewer")
        spare = most - k
    # numba compiles anew for every kind of array: read-only and strided ones are copied instead
    patches, touching = np.require(_scaled(features), requirements=["C", "W"]), np.require(edges, np.int64, ["C", "W"])
    pairs, similarities, ahead, dots = merge(patches, touching, canonical, lowest, spare, np.empty((0, 2), np.int64))
    if dots < 0:
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise ValueError(f"features must be finite; {bad} of {len(features)} patches hold NaN or infinity")
    reached = most - len(pairs)
    if k is not None and reached != k:
        raise ValueError(f"k={k} regions cannot be reached: the start has {reached} connected parts, and only neighbours merge")
    floor = -math.inf
    if threshold is not None and lowest > -ONE:
        floor = float(threshold)
    elif ahead != NOTHING:
        floor = math.nextafter(ahead / ONE, math.inf)
    return MergeSequence(canonical, pairs, similarities / ONE, floor)


def grid_edges(shape: tuple[int, ...]) -> Int[np.ndarray, "e 2"]:
    """Pairs of neighbours along each axis of a (h, w) or (t, h, w) grid, in raster order.

    >>> grid_edges((2, 2)).tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]

    Raises:
        ValueError: an axis without a cell.
    """
    if not shape or min(shape) < 1:
        raise ValueError(f"a grid is (h, w) or (t, h, w) with at least one cell an axis, got {tuple(shape)}")
    patch = np.arange(math.prod(shape))
    steps = np.array([math.prod(shape[axis + 1 :]) for axis in reversed(range(len(shape)))])
    inner = patch[:, None] // steps % np.array(shape[::-1]) < np.array(shape[::-1]) - 1
    first, axis = np.nonzero(inner)
    return np.stack([first, first + steps[axis]], axis=1)


def _one_stop(threshold: float, k: int | None) -> float:
    if k is not None:
        raise ValueError(f"threshold={threshold} and k={k}: give one of the two")
    if math.isnan(threshold):
        raise ValueError("threshold is NaN; expected a cosine similarity")
    return threshold


def _check(features: np.ndarray, edges: np.ndarray, start: np.ndarray) -> None:
    if features.dtype not in (np.float32, np.float64):
        raise TypeError(f"features must be float32 or float64, got {features.dtype}; convert them first")
    for name, array in (("edges", edges), ("start", start)):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {array.dtype}")
    if features.ndim != 2 or start.shape != features.shape[:1] or edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"expected features [n d], edges [e 2], start [n]; got {features.shape}, {edges.shape}, {start.shape}")
    n = len(features)
    if n > 1 << BITS:
        raise ValueError(f"{n} patches; at most {1 << BITS} fit a heap key: merge fewer at a time")
    if edges.size and not (edges.min() >= 0 and edges.max() < n):
        raise ValueError(f"edges must name patches 0..{n - 1}, got {edges.min()}..{edges.max()}")


def _scaled(features: np.ndarray) -> np.ndarray:
    """Float64 so large or small that squares would leave its range, by a power of two (exact); all else as it is."""
    if features.dtype == np.float32 or features.size == 0:
        return features
    peak = np.abs(features).max()
    if 1e-100 < peak < 1e100 or peak == 0.0 or not np.isfinite(peak):
        return features
    return np.ldexp(features, -math.frexp(peak)[1])

"""The sequence of merges, its cuts, and what the kernels are given: the face of exact greedy
merging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.steps.kernels.greedy import BITS, LAST, MASK, NOTHING, ONE, merge

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class MergeSequence:
    """Every merge in the order made; a cut of it is a partition.

    Heights are not monotone: a merge can bring its mean nearer to a third region than any pair was
    before.

    Attributes:
        start: [n] int64, the first patch of the region each patch started in, -1 = in none.
        pairs: [s 2] int64, first patches of the two regions merged; the lower one first: it names
            the union.
        heights: [s] float64, their cosine, a multiple of 2^-20.
        floor: the lowest threshold it can be cut at: recording stopped there; -inf = every merge is
            recorded.
    """

    start: Int[np.ndarray, "n"]
    pairs: Int[np.ndarray, "s 2"]
    heights: Float[np.ndarray, "s"]
    floor: float = -math.inf

    def labels(self, threshold: float | None = None, k: int | None = None) -> Int[np.ndarray, "n"]:
        """Region of each patch, numbered from 0 by first patch, -1 = in none.

        With `threshold`: before the first height below it; with `k`: as soon as k regions are left;
        with neither: after every merge.

        >>> merge_sequence(np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[0, 1], [1, 2]]), np.arange(3)).labels(k=2)
        array([0, 1, 1])

        Raises:
            ValueError: both are given; the sequence was not recorded that far; k is above the
                starting regions.
        """
        done = len(self.pairs)
        if threshold is not None:
            done = self._cut(_one_stop(threshold, k))
        elif k is not None:
            most = int(np.count_nonzero(self.start == np.arange(len(self.start))))
            if not most - done <= k <= most:
                raise ValueError(
                    f"k={k} regions: this sequence goes from {most} regions down to {most - done}"
                )
            done = most - k
        patch = np.arange(len(self.start))
        root = patch.copy()
        root[self.pairs[:done, 1]] = self.pairs[:done, 0]
        while not np.array_equal(further := root[root], root):
            root = further
        number = np.cumsum((self.start == patch) & (root == patch)) - 1
        return np.where(self.start >= 0, number[root[self.start]], -1)

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
        start: [n] region of each patch, any ids; -1 = in no region: never merged, its edges are
            ignored.
        threshold: merge while the similarity (cosine of the means, rounded to 2^-20) is at least
            this.
        k: merge until exactly k regions are left. With neither: until no two regions touch.

    Two regions without direction (zero, or patches that cancel to below 2^-20 of their lengths) are
    alike (1), one of them is unlike (0) any other. Of equally similar pairs the one with the lowest
    (first patch, first patch) goes first.

    Raises:
        TypeError: features that are not float32 or float64, edges or start that are not integers.
        ValueError: shapes that do not fit, NaN or infinite features, both stops, a k that cannot be
            reached.

    >>> merge_sequence(np.array([[1.0, 0], [1, 1], [0, 1]]), grid_edges((1, 3)), np.arange(3), threshold=0.7).pairs
    array([[0, 1]])
    """
    _check(features, edges, start)
    begin = _Begin.of(start, threshold, k)
    # numba compiles anew for every kind of array: read-only and strided ones are copied instead
    patches, touching = (
        np.require(_scaled(features), requirements=["C", "W"]),
        np.require(edges, np.int64, ["C", "W"]),
    )
    pairs, similarities, ahead, dots = merge(
        patches, touching, begin.start, begin.lowest, begin.spare, np.empty((0, 2), np.int64)
    )
    if dots < 0:
        raise _not_finite(int((~np.isfinite(features)).any(axis=1).sum()), len(features))
    return begin.sequence(pairs, similarities, ahead)


def merge_sequences(
    features: Float[Tensor, "v n d"],
    edges: Int[np.ndarray, "e 2"],
    starts: Int[np.ndarray, "v n"],
    *,
    threshold: float | None = None,
    k: int | None = None,
) -> list[MergeSequence]:
    """As `merge_sequence`, for v views at once on their features' GPU; what comes back to the host
    is a number a merge.

    Features may be of any floating type; n patches and e edges are few enough
    (`_greedy_cuda.fits`).

    Raises:
        ValueError: as `merge_sequence`; of several views that cannot be merged it names the first.
    """
    from regiontok.steps.kernels.greedy_cuda import (
        merge_batch,  # here, because triton is not on every machine
    )

    begins = [_Begin.of(start, threshold, k) for start in starts]
    starting = torch.from_numpy(np.stack([begin.start for begin in begins]))
    spare = torch.tensor([begin.spare for begin in begins])
    merged = (
        merge_batch(features, torch.from_numpy(edges), starting, begins[0].lowest, spare)
        .cpu()
        .numpy()
    )
    sequences = []
    for own, begin, keys in zip(features, begins, merged, strict=True):
        done = int(keys[-1])
        if done < 0:
            raise _not_finite(int((~own.isfinite()).any(-1).sum()), len(own))
        similarities = ONE - (
            keys[: done + 1] >> 2 * BITS
        )  # the last one is that of the merge that would come next
        ahead = NOTHING if keys[done] == LAST else int(similarities[done])
        pairs = np.stack([keys[:done] >> BITS & MASK, keys[:done] & MASK], axis=1)
        sequences.append(begin.sequence(pairs, similarities[:done], ahead))
    return sequences


@dataclass(frozen=True, eq=False)
class _Begin:
    """One view before merging: its regions, and where to stop."""

    start: Int[np.ndarray, "n"]  # named by their first patches
    most: int  # regions
    lowest: int  # similarity, in 1 / ONE
    spare: int  # merges
    threshold: float | None
    k: int | None

    @classmethod
    def of(cls, start: np.ndarray, threshold: float | None, k: int | None) -> _Begin:
        ids, first, inverse = np.unique(start, return_index=True, return_inverse=True)
        most = len(ids) - int(-1 in ids)
        lowest, spare = NOTHING, most
        if threshold is not None:
            lowest = math.ceil(max(-1.0, min(_one_stop(threshold, k), 2.0)) * ONE)
        elif k is not None:
            if k > most:
                raise ValueError(
                    f"k={k} regions cannot be reached: the start has {most}, and merging makes fewer"
                )
            spare = most - k
        return cls(np.where(start == -1, -1, first[inverse]), most, lowest, spare, threshold, k)

    def sequence(self, pairs: np.ndarray, similarities: np.ndarray, ahead: int) -> MergeSequence:
        """What was merged, and down to where that is all there is; `ahead`: the similarity of the
        next merge, NOTHING = none."""
        reached = self.most - len(pairs)
        if self.k is not None and reached != self.k:
            raise ValueError(
                f"k={self.k} regions cannot be reached: the start has {reached} connected parts, and only neighbours merge"
            )
        floor = -math.inf
        if self.threshold is not None and self.lowest > -ONE:
            floor = float(self.threshold)
        elif ahead != NOTHING:
            floor = math.nextafter(ahead / ONE, math.inf)
        return MergeSequence(self.start, pairs, similarities / ONE, floor)


def _not_finite(bad: int, patches: int) -> ValueError:
    return ValueError(f"features must be finite; {bad} of {patches} patches hold NaN or infinity")


def grid_edges(shape: tuple[int, ...]) -> Int[np.ndarray, "e 2"]:
    """Pairs of neighbours along each axis of a (h, w) or (t, h, w) grid, in raster order.

    >>> grid_edges((2, 2)).tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]

    Raises:
        ValueError: an axis without a cell.
    """
    if not shape or min(shape) < 1:
        raise ValueError(
            f"a grid is (h, w) or (t, h, w) with at least one cell an axis, got {tuple(shape)}"
        )
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
        raise TypeError(
            f"features must be float32 or float64, got {features.dtype}; convert them first"
        )
    for name, array in (("edges", edges), ("start", start)):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {array.dtype}")
    if (
        features.ndim != 2
        or start.shape != features.shape[:1]
        or edges.ndim != 2
        or edges.shape[1] != 2
    ):
        raise ValueError(
            f"expected features [n d], edges [e 2], start [n]; got {features.shape}, {edges.shape}, {start.shape}"
        )
    n = len(features)
    if n > 1 << BITS:
        raise ValueError(f"{n} patches; at most {1 << BITS} fit a heap key: merge fewer at a time")
    if edges.size and not (edges.min() >= 0 and edges.max() < n):
        raise ValueError(f"edges must name patches 0..{n - 1}, got {edges.min()}..{edges.max()}")


def _scaled(features: np.ndarray) -> np.ndarray:
    """Float64 so large or small that squares would leave its range, by a power of two (exact); all
    else as it is."""
    if features.dtype == np.float32 or features.size == 0:
        return features
    peak = np.abs(features).max()
    if 1e-100 < peak < 1e100 or peak == 0.0 or not np.isfinite(peak):
        return features
    return np.ldexp(features, -math.frexp(peak)[1])

"""The sequence of merges and its cuts: the entrance to exact greedy merging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.core.sizes import ShownBySizes
from regiontok.steps.kernels.greedy import BITS, LAST, MASK, NOTHING, ONE, merge

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class MergeSequence(ShownBySizes):
    """Every merge in the order in which it was made; a cut of it is a partition.

    Heights are not monotone: a merge can bring its mean nearer to a third region than any pair was
    before.

    Attributes:
        start: `[n]` int64, the first patch of the region that each patch started in, -1 for none.
        pairs: `[s 2]` int64, first patches of the two regions merged; the lower one comes first and
            names the union.
        heights: `[s]` float64, their cosine, a multiple of 2^-20.
        floor: lowest threshold at which the sequence can be cut, because recording stopped there;
            -inf if every merge is recorded.
    """

    start: Int[np.ndarray, "n"]
    pairs: Int[np.ndarray, "s 2"]
    heights: Float[np.ndarray, "s"]
    floor: float = -math.inf

    def labels(self, threshold: float | None = None, k: int | None = None) -> Int[np.ndarray, "n"]:
        """Region of each patch, numbered from 0 by first patch, -1 for none.

        With `threshold` the cut lies before the first height below it; with `k` as soon as k
        regions are left; with neither after every merge.

        >>> features, edges = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[0, 1], [1, 2]])
        >>> merge_sequence(features, edges, np.arange(3)).labels(k=2)
        array([0, 1, 1])

        Raises:
            ValueError: If both are given, if the sequence was not recorded that far, or if k lies
                above the number of regions at the start.
        """
        merges = len(self.pairs)
        if threshold is not None:
            merges = self._merges_above(_checked_threshold(threshold, k))
        elif k is not None:
            regions = int(np.count_nonzero(self.start == np.arange(len(self.start))))
            if not regions - merges <= k <= regions:
                raise ValueError(
                    f"k={k} regions: this sequence goes from {regions} regions down to "
                    f"{regions - merges}"
                )
            merges = regions - k
        patch = np.arange(len(self.start))
        root = patch.copy()
        root[self.pairs[:merges, 1]] = self.pairs[:merges, 0]
        while not np.array_equal(further := root[root], root):
            root = further
        number = np.cumsum((self.start == patch) & (root == patch)) - 1
        return np.where(self.start >= 0, number[root[self.start]], -1)

    def _merges_above(self, threshold: float) -> int:
        """The number of merges before the first height below `threshold`."""
        below = np.flatnonzero(self.heights < threshold)
        if len(below) == 0 and threshold < self.floor:
            raise ValueError(
                f"threshold={threshold}: this sequence was recorded down to {self.floor} only; "
                "merge again, further"
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

    Two regions without direction (zero, or patches that cancel to below 2^-20 of their lengths) are
    alike (1), and one of them is unlike (0) any other region. Of equally similar pairs the one with
    the lowest (first patch, first patch) merges first.

    Args:
        features: `[n d]` float32 or float64, finite; at most 2^20 patches.
        edges: `[e 2]` patches that touch, on any grid; order, direction and repeats do not matter.
        start: `[n]` region of each patch, by any ids; -1 for a patch in no region, which is never
            merged and whose edges are ignored.
        threshold: regions merge while the similarity (cosine of the means, rounded to 2^-20) is at
            least this.
        k: regions merge until exactly k are left. With neither stop they merge until no two touch.

    Raises:
        TypeError: If features are not float32 or float64, or edges or start are not integers.
        ValueError: If shapes do not fit, features are NaN or infinite, both stops are given, or k
            cannot be reached.

    >>> features, edges = np.array([[1.0, 0], [1, 1], [0, 1]]), grid_edges((1, 3))
    >>> merge_sequence(features, edges, np.arange(3), threshold=0.7).pairs
    array([[0, 1]])
    """
    _check(features, edges, start)
    begin = _Start.of(start, threshold, k)
    # numba compiles anew for every kind of array: read-only and strided ones are copied instead.
    pairs, similarities, next_similarity, dots = merge(
        patches=np.require(_scaled(features), requirements=["C", "W"]),
        edges=np.require(edges, np.int64, ["C", "W"]),
        start=begin.start,
        lowest=begin.lowest,
        spare=begin.spare,
        trace=np.empty((0, 2), np.int64),
    )
    if dots < 0:
        raise _not_finite(int((~np.isfinite(features)).any(axis=1).sum()), len(features))
    return begin.sequence(pairs, similarities, next_similarity)


def merge_sequences(
    features: Float[Tensor, "v n d"],
    edges: Int[np.ndarray, "e 2"],
    starts: Int[np.ndarray, "v n"],
    *,
    threshold: float | None = None,
    k: int | None = None,
) -> list[MergeSequence]:
    """As `merge_sequence`, for v views at once on the GPU that their features lie on.

    One number a merge comes back to the host. Features may be of any floating type; n patches and e
    edges must be few enough (`greedy_cuda.fits`).

    Raises:
        ValueError: If one of the views cannot be merged, as in `merge_sequence`; the first such
            view is reported.
    """
    # Imported late, because Triton is not on every machine.
    from regiontok.steps.kernels.greedy_cuda import merge_batch

    begins = [_Start.of(start, threshold, k) for start in starts]
    merged = merge_batch(
        features,
        torch.from_numpy(edges),
        torch.from_numpy(np.stack([begin.start for begin in begins])),
        begins[0].lowest,
        torch.tensor([begin.spare for begin in begins]),
    )
    sequences = []
    for view, begin, keys in zip(features, begins, merged.cpu().numpy(), strict=True):
        merges = int(keys[-1])
        if merges < 0:
            raise _not_finite(int((~view.isfinite()).any(-1).sum()), len(view))
        # The key behind those of the merges is that of the merge that would come next.
        similarities = ONE - (keys[: merges + 1] >> 2 * BITS)
        next_similarity = NOTHING if keys[merges] == LAST else int(similarities[merges])
        pairs = np.stack([keys[:merges] >> BITS & MASK, keys[:merges] & MASK], axis=1)
        sequences.append(begin.sequence(pairs, similarities[:merges], next_similarity))
    return sequences


@dataclass(frozen=True, eq=False)
class _Start:
    """One view before merging: its regions, and where merging stops.

    Attributes:
        start: `[n]` the first patch of each patch's region, -1 for none.
        regions: number of regions.
        lowest: lowest similarity at which regions merge, in multiples of 1 / ONE.
        spare: largest number of merges.
        threshold, k: the stop as it was given.
    """

    start: Int[np.ndarray, "n"]
    regions: int
    lowest: int
    spare: int
    threshold: float | None
    k: int | None

    @classmethod
    def of(cls, start: Int[np.ndarray, "n"], threshold: float | None, k: int | None) -> _Start:
        """From regions by any ids, and one of the two stops or neither."""
        ids, first, inverse = np.unique(start, return_index=True, return_inverse=True)
        regions = len(ids) - int(-1 in ids)
        lowest, spare = NOTHING, regions
        if threshold is not None:
            lowest = math.ceil(max(-1.0, min(_checked_threshold(threshold, k), 2.0)) * ONE)
        elif k is not None:
            if k > regions:
                raise ValueError(
                    f"k={k} regions cannot be reached: the start has {regions}, and merging makes "
                    f"fewer; split(least={k}) in front of it splits regions further"
                )
            spare = regions - k
        by_first_patch = np.where(start == -1, -1, first[inverse])
        return cls(by_first_patch, regions, lowest=lowest, spare=spare, threshold=threshold, k=k)

    def sequence(
        self,
        pairs: Int[np.ndarray, "s 2"],
        similarities: Int[np.ndarray, "s"],
        next_similarity: int,
    ) -> MergeSequence:
        """The merges that were made, and the threshold down to which they are all there are.

        `next_similarity` is that of the merge that would come next, NOTHING if there is none.
        """
        reached = self.regions - len(pairs)
        if self.k is not None and reached != self.k:
            raise ValueError(
                f"k={self.k} regions cannot be reached: the start has {reached} connected parts, "
                "and only neighbours merge"
            )
        floor = -math.inf
        if self.threshold is not None and self.lowest > -ONE:
            floor = float(self.threshold)
        elif next_similarity != NOTHING:
            floor = math.nextafter(next_similarity / ONE, math.inf)
        return MergeSequence(self.start, pairs, similarities / ONE, floor)


def grid_edges(shape: tuple[int, ...]) -> Int[np.ndarray, "e 2"]:
    """Pairs of neighbours along each axis of a (h, w) or (t, h, w) grid, in raster order.

    >>> grid_edges((2, 2)).tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]

    Raises:
        ValueError: If an axis has no cell.
    """
    if not shape or min(shape) < 1:
        raise ValueError(
            f"a grid is (h, w) or (t, h, w) with at least one cell an axis, got {tuple(shape)}"
        )
    patch = np.arange(math.prod(shape))
    strides = np.array([math.prod(shape[axis + 1 :]) for axis in reversed(range(len(shape)))])
    inner = patch[:, None] // strides % np.array(shape[::-1]) < np.array(shape[::-1]) - 1
    first, axis = np.nonzero(inner)
    return np.stack([first, first + strides[axis]], axis=1)


def _not_finite(count: int, patches: int) -> ValueError:
    return ValueError(f"features must be finite; {count} of {patches} patches hold NaN or infinity")


def _checked_threshold(threshold: float, k: int | None) -> float:
    if k is not None:
        raise ValueError(f"threshold={threshold} and k={k}: give one of the two")
    if math.isnan(threshold):
        raise ValueError("threshold is NaN; expected a cosine similarity")
    return threshold


def _check(
    features: Float[np.ndarray, "n d"], edges: Int[np.ndarray, "e 2"], start: Int[np.ndarray, "n"]
) -> None:
    """Raise if the arguments of `merge_sequence` do not fit."""
    if features.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"features must be float32 or float64, got {features.dtype}; convert them first"
        )
    for name, array in (("edges", edges), ("start", start)):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {array.dtype}")
    is_pairs = edges.ndim == 2 and edges.shape[1] == 2
    if features.ndim != 2 or start.shape != features.shape[:1] or not is_pairs:
        raise ValueError(
            f"expected features [n d], edges [e 2], start [n]; got {features.shape}, "
            f"{edges.shape}, {start.shape}"
        )
    n = len(features)
    if n > 1 << BITS:
        raise ValueError(f"{n} patches; at most {1 << BITS} fit a heap key: merge fewer at a time")
    if edges.size and not (edges.min() >= 0 and edges.max() < n):
        raise ValueError(f"edges must name patches 0..{n - 1}, got {edges.min()}..{edges.max()}")


def _scaled(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Float64 so large or small that squares would leave its range, scaled by a power of two.

    Such a scale is exact; all other features stay as they are.
    """
    if features.dtype == np.float32 or features.size == 0:
        return features
    peak = np.abs(features).max()
    if 1e-100 < peak < 1e100 or peak == 0.0 or not np.isfinite(peak):
        return features
    scaled: Float[np.ndarray, "n d"] = np.ldexp(features, -math.frexp(peak)[1])
    return scaled

"""Merge neighbouring regions of highest cosine similarity, down to a threshold or to exactly k
regions.

After: diagnostic study, section 4.2 and appendix E.1 (row D5, UnSAM's iterative merging: a region's
feature is the mean of its patches; the pair of adjacent regions with the highest cosine merges
first, until it drops below 0.7).
Differs: ties are defined (the pair whose first patches come first in raster order); similarities
come from float64 sums, rounded to 2^-20, so that ties are decided by that rule and not by noise; an
exact budget `k` beside the threshold; it starts from any disjoint regions and keeps gaps.
Neighbours share an edge of the grid (4-neighbourhood; for a clip also the same patch in the next
frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import cache
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.kernels.sequence import (
    MergeSequence,
    grid_edges,
    merge_sequence,
    merge_sequences,
)


@dataclass(frozen=True)
class Merge(RegionStep):
    """Greedy merging by threshold or by exact budget.

    Attributes:
        threshold: merge while the best pair's cosine is at least this. A good value belongs to an
            encoder: each names one.
        k: stop at exactly this many regions.

    Raises:
        ValueError: both or neither given; a k above the regions there are, or below the connected
            parts of the grid; overlap.
    """

    threshold: float | None = None
    _: KW_ONLY
    k: int | None = None
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.k is None):
            raise ValueError("give exactly one of threshold and k: merge(0.7) or merge(k=144)")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold} is no cosine: it must lie in [-1, 1]")
        if self.k is not None and self.k < 1:
            raise ValueError(f"needs at least one region, got k={self.k}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Merge one view; regions come out by first patch, `source` stays where all parts had the
        same."""
        return self.many([regions], [grid])[0]

    def many(self, regions: Sequence[Regions], grids: Sequence[PatchGrid]) -> list[Regions]:
        """Merge many views: those on a GPU there, all of one shape at once; others as many at a
        time as torch has threads."""
        trees = merge_trees(regions, grids, threshold=self.threshold, k=self.k)
        return [tree.cut(self.threshold, k=self.k) for tree in trees]


@dataclass(frozen=True, eq=False)
class MergeTree:
    """Every merge of one view, once: each threshold and each exact number of regions is a cut of
    it.

    >>> from regiontok.core.frame import Frame
    >>> grid = PatchGrid(torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]), Frame.stretch((1, 3), (1, 3), (1, 1)))
    >>> tree = merge_tree(Regions.singletons((1, 3)), grid)
    >>> [len(tree.cut(k=k)) for k in (1, 2, 3)], len(tree.cut(0.9))
    ([1, 2, 3], 2)
    """

    start: Regions
    sequence: MergeSequence

    def cut(self, threshold: float | None = None, *, k: int | None = None) -> Regions:
        """The regions before the first merge below `threshold`, or the k regions on the way;
        heights are not monotone.

        Raises:
            ValueError: a k above the regions there were or below the connected parts; both or
                neither given.
        """
        if (threshold is None) == (k is None):
            raise ValueError("give exactly one of threshold and k")
        after = torch.from_numpy(self.sequence.labels(threshold=threshold, k=k)).to(
            self.start.patch.device
        )
        return Regions.from_labels(after.view(self.start.grid), _sources(self.start, after))


def merge_tree(regions: Regions, grid: PatchGrid) -> MergeTree:
    """Merge until nothing adjacent is left, and keep the whole sequence."""
    return merge_trees([regions], [grid])[0]


def merge_trees(
    regions: Sequence[Regions],
    grids: Sequence[PatchGrid],
    *,
    threshold: float | None = None,
    k: int | None = None,
) -> list[MergeTree]:
    """The sequence of each view, down to `threshold` or k regions or else to the end."""
    starts = _labels(regions)
    batches: dict[tuple, list[int]] = {}
    for view, grid in enumerate(grids):
        alike = (
            (grid.features.device, grid.features.dtype, grid.features.shape)
            if _on_gpu(grid)
            else ()
        )
        batches.setdefault(alike, []).append(view)
    sequences: dict[int, MergeSequence] = {}
    for alike, views in batches.items():
        if alike:
            features = torch.stack([grids[view].features.detach().flatten(0, -2) for view in views])
            own = np.stack([starts[view] for view in views])
            found = merge_sequences(
                features, grid_edges(grids[views[0]].grid), own, threshold=threshold, k=k
            )
        else:
            with ThreadPoolExecutor(
                torch.get_num_threads()
            ) as threads:  # the kernel lets go of the interpreter
                found = list(
                    threads.map(
                        lambda view: _on_host(grids[view], starts[view], threshold, k), views
                    )
                )
        sequences |= zip(views, found, strict=True)
    return [MergeTree(own, sequences[view]) for view, own in enumerate(regions)]


def _on_gpu(grid: PatchGrid) -> bool:
    """Whether the batched kernel can take this view: it needs Triton, a GPU that Triton knows and a
    grid that is not too large."""
    if not grid.features.is_cuda or not _has_triton():
        return False
    from regiontok.steps.kernels.greedy_cuda import fits

    pairs = sum(grid.patches - grid.patches // side for side in grid.grid)
    return fits(grid.patches, pairs)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _on_host(
    grid: PatchGrid, start: np.ndarray, threshold: float | None, k: int | None
) -> MergeSequence:
    flat = grid.features.flatten(0, -2).detach()
    features = (flat if flat.dtype.itemsize >= 4 else flat.float()).cpu().numpy()
    return merge_sequence(features, grid_edges(grid.grid), start, threshold=threshold, k=k)


def _labels(regions: Sequence[Regions]) -> list[np.ndarray]:
    """Region of each patch of each view, -1 = in none; one copy to the host for all of them."""
    if not regions:
        return []
    device = regions[0].patch.device
    flat = (
        torch.cat([torch.stack([own.patch, own.region]).to(device) for own in regions], dim=1)
        .cpu()
        .numpy()
    )
    starts, at = [], 0
    for own in regions:
        patch, region = flat[:, at : at + len(own.patch)]
        at += len(own.patch)
        labels = np.full(own.patches, -1)
        labels[patch] = region
        if np.count_nonzero(labels >= 0) < len(patch):
            labels = (
                own.labels.flatten().cpu().numpy()
            )  # regions overlap: it says so, and what to do
        starts.append(labels)
    return starts


def _sources(regions: Regions, after: torch.Tensor) -> torch.Tensor:
    """`[k]`: the source that all parts of a merged region share, -1 where they differ."""
    part, whole = regions.source[regions.region], after[regions.patch]
    count = int(whole.max()) + 1 if len(whole) else 0
    low = torch.full((count,), torch.iinfo(torch.int64).max, device=part.device).scatter_reduce(
        0, whole, part, "amin"
    )
    high = torch.full((count,), -1, dtype=torch.int64, device=part.device).scatter_reduce(
        0, whole, part, "amax"
    )
    return torch.where(low == high, low, -1)

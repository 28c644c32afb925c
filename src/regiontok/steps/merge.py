"""Merge neighbouring regions of highest cosine similarity, down to a threshold or to k regions.

After: diagnostic study, section 4.2 and appendix E.1 (row D5, UnSAM's iterative merging: a region's
feature is the mean of its patches; the pair of adjacent regions with the highest cosine merges
first, until it drops below 0.7).
Differs: ties are defined (the pair whose first patches come first in raster order); similarities
come from float64 sums, rounded to 2^-20, so that ties are decided by that rule and not by noise; an
exact budget `k` is offered beside the threshold; merging starts from any disjoint regions and keeps
gaps. Neighbours share an edge of the grid (4-neighbourhood; in a clip also the same patch of the
next frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.core.sizes import ShownBySizes
from regiontok.methods import RegionStep
from regiontok.steps.kernels.sequence import (
    MergeSequence,
    grid_edges,
    merge_sequence,
    merge_sequences,
)

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True)
class Merge(RegionStep):
    """Greedy merging by threshold or by exact budget.

    Attributes:
        threshold: regions merge while the best pair's cosine is at least this. A good value belongs
            to an encoder: `Encoder.threshold` names it.
        k: merging stops at exactly this many regions.

    Raises:
        ValueError: If both or neither are given; at a view, if k lies above the number of its
            regions or below the number of their connected parts, or if regions overlap.
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
        """Merge one view.

        Regions come out by first patch; `source` stays where all merged regions had the same.
        """
        return self.many([regions], [grid])[0]

    def many(self, regions: Sequence[Regions], grids: Sequence[PatchGrid]) -> list[Regions]:
        """Merge many views.

        Views on a GPU are merged there, all of one shape at once; the others on the host, as many
        at a time as torch has threads.
        """
        trees = merge_trees(regions, grids, threshold=self.threshold, k=self.k)
        return [tree.cut(self.threshold, k=self.k) for tree in trees]


@dataclass(frozen=True, eq=False, repr=False)
class MergeTree(ShownBySizes):
    """All merges of one view: each threshold and each number of regions is a cut of the tree.

    Attributes:
        start: the regions before the first merge.
        sequence: the merges in the order in which they were made.

    >>> from regiontok.core.frame import Frame
    >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]])
    >>> grid = PatchGrid(features, Frame.stretch((1, 3), (1, 3), (1, 1)))
    >>> tree = merge_tree(Regions.singletons((1, 3)), grid)
    >>> [len(tree.cut(k=k)) for k in (1, 2, 3)], len(tree.cut(0.9))
    ([1, 2, 3], 2)
    """

    start: Regions
    sequence: MergeSequence

    def cut(self, threshold: float | None = None, *, k: int | None = None) -> Regions:
        """The regions before the first merge below `threshold`, or the k regions on the way.

        Similarities may rise again after a merge, so later ones may lie above the threshold.

        Raises:
            ValueError: If both or neither are given, or k lies above the number of regions at the
                start or below the number of their connected parts.
        """
        if (threshold is None) == (k is None):
            raise ValueError("give exactly one of threshold and k")
        labels = torch.from_numpy(self.sequence.labels(threshold=threshold, k=k))
        labels = labels.to(self.start.patch.device)
        return Regions.from_labels(labels.view(self.start.grid), _sources(self.start, labels))


def merge_tree(regions: Regions, grid: PatchGrid) -> MergeTree:
    """Merge until no two regions touch, and record the whole sequence."""
    return merge_trees([regions], [grid])[0]


def merge_trees(
    regions: Sequence[Regions],
    grids: Sequence[PatchGrid],
    *,
    threshold: float | None = None,
    k: int | None = None,
) -> list[MergeTree]:
    """The sequence of each view, down to `threshold` or k regions or else to the end."""
    starts = _start_labels(regions)
    batches: dict[tuple[torch.device, torch.dtype, torch.Size] | None, list[int]] = {}
    for view, grid in enumerate(grids):
        features = grid.features
        alike = (features.device, features.dtype, features.shape) if _fits_gpu(grid) else None
        batches.setdefault(alike, []).append(view)
    sequences: dict[int, MergeSequence] = {}
    for alike, views in batches.items():
        if alike is None:
            # The compiled kernel lets go of the interpreter, so threads run side by side.
            with ThreadPoolExecutor(torch.get_num_threads()) as threads:
                merged = list(
                    threads.map(
                        lambda view: _merge_on_host(grids[view], starts[view], threshold, k), views
                    )
                )
        else:
            merged = merge_sequences(
                torch.stack([grids[view].features.detach().flatten(0, -2) for view in views]),
                grid_edges(grids[views[0]].grid),
                np.stack([starts[view] for view in views]),
                threshold=threshold,
                k=k,
            )
        sequences |= zip(views, merged, strict=True)
    return [MergeTree(start, sequences[view]) for view, start in enumerate(regions)]


def _fits_gpu(grid: PatchGrid) -> bool:
    """Whether the batched kernel can take this view.

    It needs Triton, a GPU that Triton knows, and a grid that is not too large.
    """
    if not grid.features.is_cuda or not _has_triton():
        return False
    from regiontok.steps.kernels.greedy_cuda import fits

    pairs = sum(grid.patches - grid.patches // side for side in grid.grid)
    return fits(grid.patches, pairs)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _merge_on_host(
    grid: PatchGrid, start: Int[np.ndarray, "n"], threshold: float | None, k: int | None
) -> MergeSequence:
    flat = grid.features.flatten(0, -2).detach()
    features = (flat if flat.dtype.itemsize >= 4 else flat.float()).cpu().numpy()
    return merge_sequence(features, grid_edges(grid.grid), start, threshold=threshold, k=k)


def _start_labels(regions: Sequence[Regions]) -> list[Int[np.ndarray, "n"]]:
    """The region of each patch of each view, -1 for none; one copy to the host for all views."""
    if not regions:
        return []
    device = regions[0].patch.device
    memberships = torch.cat(
        [torch.stack([view.patch, view.region]).to(device) for view in regions], dim=1
    )
    on_host = memberships.cpu().numpy()
    starts, offset = [], 0
    for view in regions:
        patch, region = on_host[:, offset : offset + len(view.patch)]
        offset += len(view.patch)
        labels = np.full(view.patches, -1)
        labels[patch] = region
        if np.count_nonzero(labels >= 0) < len(patch):  # regions overlap:
            labels = view.labels.flatten().cpu().numpy()  # raises and says what to do
        starts.append(labels)
    return starts


def _sources(regions: Regions, labels: Int[Tensor, "n"]) -> Int[Tensor, "k"]:
    """The source that all parts of a merged region share, -1 where they differ."""
    source, merged = regions.source[regions.region], labels[regions.patch]
    count = int(merged.max()) + 1 if len(merged) else 0
    lowest = torch.full((count,), torch.iinfo(torch.int64).max, device=source.device)
    lowest = lowest.scatter_reduce(0, merged, source, "amin")
    highest = torch.full((count,), -1, dtype=torch.int64, device=source.device)
    highest = highest.scatter_reduce(0, merged, source, "amax")
    return torch.where(lowest == highest, lowest, -1)

"""Regions of one view, and Members: the regions of a batch laid flat.

A region is a list of patches. Kept as a sorted relation patch <-> region it may overlap, leave gaps
and have any size; mean pooling is a segment mean over it, object-guided selection is
`features[patch]`, cross-attention a segment softmax, and 665k images of it take 1.5 GB where dense
masks take 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Regions:
    """k regions on one patch grid.

    Attributes:
        patch: `[m]` int64, raster index of the patch of each membership.
        region: `[m]` int64, its region; sorted by region, then by patch; every region 0..k-1 has a
            patch.
        grid: (h, w), or (t, h, w) for a clip.
        source: `[k]` int64, index of the mask a region came from, -1 if from none.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 1], [2, -1, 1]]))
    >>> len(regions), regions.sizes.tolist(), regions.patch.tolist()
    (3, [2, 2, 1], [0, 1, 2, 5, 3])
    """

    patch: Int[Tensor, "m"]
    region: Int[Tensor, "m"]
    grid: tuple[int, ...]
    source: Int[Tensor, "k"]

    def __post_init__(self) -> None:
        if self.patch.shape != self.region.shape or self.patch.ndim != 1:
            raise ValueError(
                f"patch and region must be [m], got {list(self.patch.shape)} and {list(self.region.shape)}"
            )
        if {self.patch.dtype, self.region.dtype, self.source.dtype} != {torch.int64}:
            raise ValueError(
                f"ids must be int64, got {self.patch.dtype}, {self.region.dtype} and {self.source.dtype}"
            )
        if not len(self.patch):
            if len(self.source):
                raise ValueError(
                    f"{len(self.source)} regions without a patch; an empty region does not exist"
                )
            return
        order = self.region * self.patches + self.patch
        steps = self.region.diff(prepend=self.region.new_full((1,), -1))
        ascending = (order[1:] > order[:-1]).all()
        ends = [
            self.patch.min(),
            self.patch.max(),
            ascending.long(),
            self.region[0],
            self.region[-1],
            steps.max(),
        ]
        low, high, is_sorted, first, last, widest = torch.stack(
            ends
        ).tolist()  # together: a GPU is waited for once
        if low < 0 or high >= self.patches:
            raise ValueError(
                f"patch indices must lie in 0..{self.patches - 1} on the grid {self.grid}"
            )
        if not is_sorted:
            raise ValueError("memberships must be sorted by region, then patch, without repeats")
        if first != 0 or last + 1 != len(self.source) or widest > 1:
            raise ValueError(
                f"regions must be numbered 0..{len(self.source) - 1}, each with at least one patch"
            )

    @classmethod
    def singletons(
        cls, grid: tuple[int, ...], valid: Bool[Tensor, "*grid"] | None = None
    ) -> Regions:
        """Every (valid) patch its own region, in raster order: the patch baseline (row D2)."""
        if valid is not None and tuple(valid.shape) != tuple(grid):
            raise ValueError(f"valid {list(valid.shape)} lies on another grid than {tuple(grid)}")
        patch = torch.arange(_count(grid)) if valid is None else valid.flatten().nonzero()[:, 0]
        region = torch.arange(len(patch), device=patch.device)
        return cls(patch, region, grid, torch.full_like(region, -1))

    @classmethod
    def from_masks(
        cls, masks: Bool[Tensor, "k *grid"], source: Int[Tensor, "k"] | None = None
    ) -> Regions:
        """From patch masks; empty ones are left out, and `source` (default: the mask's index) says
        which stayed."""
        flat = masks.flatten(1) != 0
        kept = flat.any(1)
        index = torch.arange(len(flat), device=flat.device) if source is None else source
        region, patch = flat[kept].nonzero(as_tuple=True)
        return cls(patch, region, tuple(masks.shape[1:]), index[kept])

    @classmethod
    def from_labels(
        cls, labels: Int[Tensor, "*grid"], source: Int[Tensor, "k"] | None = None
    ) -> Regions:
        """From one label a patch, -1 for none; regions in the order of their labels, without gaps
        in the numbering.

        `source` gives the mask of each label that occurs, in order (default: none).
        """
        flat = labels.flatten().long()
        patch = (flat >= 0).nonzero()[:, 0]
        ids, region = flat[patch].unique(return_inverse=True)
        order = torch.argsort(region, stable=True)
        source = torch.full_like(ids, -1) if source is None else source
        return cls(patch[order], region[order], tuple(labels.shape), source)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def patches(self) -> int:
        """Patches of the grid, in a region or not."""
        return _count(self.grid)

    @cached_property
    def sizes(self) -> Int[Tensor, "k"]:
        """Patches of each region."""
        return torch.bincount(self.region, minlength=len(self))

    @cached_property
    def starts(self) -> Int[Tensor, "k"]:
        """Where each region's memberships begin; `patch[starts]` is its first patch in raster
        order."""
        return self.sizes.cumsum(0) - self.sizes

    @property
    def masks(self) -> Bool[Tensor, "k *grid"]:
        """Dense patch masks."""
        dense = torch.zeros(len(self), self.patches, dtype=torch.bool, device=self.patch.device)
        dense[self.region, self.patch] = True
        return dense.view(len(self), *self.grid)

    @property
    def counts(self) -> Int[Tensor, "*grid"]:
        """In how many regions each patch lies."""
        return torch.bincount(self.patch, minlength=self.patches).view(self.grid)

    @property
    def overlap(self) -> bool:
        """True if some patch lies in more than one region."""
        return bool((self.counts > 1).any())

    @property
    def labels(self) -> Int[Tensor, "*grid"]:
        """The region of each patch, -1 for none.

        Raises:
            ValueError: regions overlap, so that a patch has no single label.
        """
        if self.overlap:
            raise ValueError(
                f"{int((self.counts > 1).sum())} patches lie in several regions; make them disjoint first, "
                "say with segments(..., resolve='smallest')"
            )
        labels = torch.full((self.patches,), -1, dtype=torch.int64, device=self.patch.device)
        labels[self.patch] = self.region
        return labels.view(self.grid)

    @cached_property
    def centroids(self) -> Float[Tensor, "k axes"]:
        """`[k 2]` (y, x), or `[k 3]` (t, y, x): mean patch coordinates, float64."""
        at = torch.stack(torch.unravel_index(self.patch, self.grid), dim=1).double()
        total = torch.zeros(len(self), len(self.grid), dtype=torch.float64, device=at.device)
        return total.index_add_(0, self.region, at) / self.sizes[:, None]

    def is_partition(self, valid: Bool[Tensor, "*grid"] | None = None) -> bool:
        """True if every (valid) patch lies in exactly one region, and no other patch in any."""
        wanted = (
            torch.ones(self.grid, dtype=torch.bool, device=self.patch.device)
            if valid is None
            else valid
        )
        return bool((self.counts == wanted.long()).all())

    def take(self, order: Int[Tensor, "j"] | Bool[Tensor, "k"] | Sequence[int]) -> Regions:
        """The regions of `order` (or of a bool mask), in its order, each at most once."""
        order = torch.as_tensor(order, device=self.patch.device)
        order = order.nonzero()[:, 0] if order.dtype == torch.bool else order.long()
        rank = torch.full((len(self),), -1, dtype=torch.int64, device=order.device)
        rank[order] = torch.arange(len(order), device=order.device)
        region = rank[self.region]
        kept = (region >= 0).nonzero()[:, 0]
        kept = kept[torch.argsort(region[kept], stable=True)]
        return Regions(self.patch[kept], region[kept], self.grid, self.source[order])

    def frame(self, at: int) -> tuple[Regions, Int[Tensor, "j"]]:
        """The regions of a clip on its frame `at`, and which of the clip's regions they are.

        >>> own, ids = Regions.from_labels(torch.tensor([[[0, 1]], [[2, 1]]])).frame(1)
        >>> own.labels.tolist(), ids.tolist()
        ([[1, 0]], [1, 2])

        Raises:
            ValueError: regions of a single picture.
            IndexError: the clip has no such frame.
        """
        if len(self.grid) != 3:
            raise ValueError(
                f"only a clip's regions, on a grid (t, h, w), have frames; these lie on {self.grid}"
            )
        if not 0 <= at < self.grid[0]:
            raise IndexError(f"frame {at} of a clip of {self.grid[0]}")
        each = self.grid[1] * self.grid[2]
        inside = self.patch // each == at
        ids, region = self.region[inside].unique(return_inverse=True)
        return Regions(self.patch[inside] - at * each, region, self.grid[1:], self.source[ids]), ids

    def to(self, device: torch.device | str) -> Regions:
        """On another device."""
        return Regions(
            self.patch.to(device), self.region.to(device), self.grid, self.source.to(device)
        )


@dataclass(frozen=True, eq=False)
class Members:
    """The regions of v views, laid end to end: ids are global, offsets give back a view's own. An
    empty view keeps its slot.

    Attributes:
        patch: `[m]` int64, row of the concatenated patch features.
        region: `[m]` int64, global region, ascending.
        patches: `[v + 1]` int64, where each view's patches begin.
        regions: `[v + 1]` int64, where each view's regions begin.
        image: `[v]` int64, ascending: the image of each view.
    """

    patch: Int[Tensor, "m"]
    region: Int[Tensor, "m"]
    patches: Int[Tensor, "v1"]
    regions: Int[Tensor, "v1"]
    image: Int[Tensor, "v"]

    @classmethod
    def of(cls, views: Sequence[Regions], image: Sequence[int] | Tensor | None = None) -> Members:
        """Lay the regions of several views end to end; `image` says whose view each is (default:
        one view an image).

        Raises:
            ValueError: `image` is not one ascending id a view.
        """
        device = views[0].patch.device if views else torch.device("cpu")
        patches = _offsets([view.patches for view in views], device)
        regions = _offsets([len(view) for view in views], device)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        patch = torch.cat(
            [none, *(view.patch + start for view, start in zip(views, patches, strict=False))]
        )
        region = torch.cat(
            [none, *(view.region + start for view, start in zip(views, regions, strict=False))]
        )
        image = torch.as_tensor(
            range(len(views)) if image is None else image, dtype=torch.int64, device=device
        )
        if len(image) != len(views) or bool((image.diff() < 0).any()):
            raise ValueError(
                f"expected one ascending image id for each of {len(views)} views, got {image.tolist()}"
            )
        return cls(patch, region, patches, regions, image)

    def __len__(self) -> int:
        return int(self.regions[-1])

    @cached_property
    def sizes(self) -> Int[Tensor, "k"]:
        """Patches of each region."""
        return torch.bincount(self.region, minlength=len(self))

    @cached_property
    def view(self) -> Int[Tensor, "k"]:
        """The view of each region, counted over the batch."""
        return torch.repeat_interleave(
            torch.arange(len(self.image), device=self.region.device), self.regions.diff()
        )


def _count(grid: tuple[int, ...]) -> int:
    total = 1
    for side in grid:
        total *= side
    return total


def _offsets(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *counts], dtype=torch.int64, device=device).cumsum(0)

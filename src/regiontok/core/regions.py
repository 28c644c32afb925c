"""Regions of one view, and Members: the regions of a batch laid end to end.

A region is a list of patches. Kept as a sorted relation patch <-> region it may overlap, leave gaps
and have any size; mean pooling is a segment mean over it, object-guided selection is
`features[patch]`, cross-attention a segment softmax, and 665k images of it take 1.5 GB where dense
masks take 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.sizes import counted, shape_text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """k regions on one patch grid.

    Attributes:
        patch: `[m]` int64, raster index of the patch of each membership.
        region: `[m]` int64, the region of each membership; sorted by region, then by patch. Every
            region 0..k-1 has a patch.
        grid: (h, w), or (t, h, w) for a clip.
        source: `[k]` int64, index of the mask that a region came from, -1 if from none.

    Raises:
        ValueError: If the memberships are not sorted, do not fit the grid, or leave a region
            without a patch.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 1], [2, -1, 1]]))
    >>> regions
    Regions(2 x 3 patches, 3 regions)
    >>> regions.sizes.tolist(), regions.patch.tolist()
    ([2, 2, 1], [0, 1, 2, 5, 3])
    """

    patch: Int[Tensor, "m"]
    region: Int[Tensor, "m"]
    grid: tuple[int, ...]
    source: Int[Tensor, "k"]

    def __post_init__(self) -> None:
        if self.patch.shape != self.region.shape or self.patch.ndim != 1:
            raise ValueError(
                f"patch and region must be [m], got {list(self.patch.shape)} "
                f"and {list(self.region.shape)}"
            )
        if {self.patch.dtype, self.region.dtype, self.source.dtype} != {torch.int64}:
            raise ValueError(
                f"ids must be int64, got {self.patch.dtype}, {self.region.dtype} "
                f"and {self.source.dtype}"
            )
        if len(self.patch):
            self._check_memberships()
        elif len(self.source):
            raise ValueError(
                f"{len(self.source)} regions without a patch; an empty region does not exist"
            )

    def _check_memberships(self) -> None:
        order = self.region * self.patches + self.patch
        steps = self.region.diff(prepend=self.region.new_full((1,), -1))
        facts = [
            self.patch.min(),
            self.patch.max(),
            (order[1:] > order[:-1]).all().long(),
            self.region[0],
            self.region[-1],
            steps.max(),
        ]
        # Read together, so that a GPU is waited for once.
        lowest, highest, is_sorted, first, last, widest_step = torch.stack(facts).tolist()
        if lowest < 0 or highest >= self.patches:
            raise ValueError(
                f"patch indices must lie in 0..{self.patches - 1} on the grid {self.grid}"
            )
        if not is_sorted:
            raise ValueError("memberships must be sorted by region, then patch, without repeats")
        if first != 0 or last + 1 != len(self.source) or widest_step > 1:
            raise ValueError(
                f"regions must be numbered 0..{len(self.source) - 1}, each with at least one patch"
            )

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"Regions({shape_text(self.grid)} patches, {counted(len(self), 'region')})"

    @classmethod
    def singletons(
        cls, grid: tuple[int, ...], valid: Bool[Tensor, "*grid"] | None = None
    ) -> Regions:
        """Every (valid) patch as its own region, in raster order: the patch baseline (row D2)."""
        if valid is None:
            patch = torch.arange(prod(grid))
        elif tuple(valid.shape) == tuple(grid):
            patch = valid.flatten().nonzero()[:, 0]
        else:
            raise ValueError(f"valid {list(valid.shape)} lies on another grid than {tuple(grid)}")
        region = torch.arange(len(patch), device=patch.device)
        return cls(patch, region, grid, torch.full_like(region, -1))

    @classmethod
    def from_masks(
        cls, masks: Bool[Tensor, "k *grid"], source: Int[Tensor, "k"] | None = None
    ) -> Regions:
        """Regions from patch masks; empty masks are left out.

        Args:
            masks: one mask a region; anything but 0 is inside.
            source: what `source` holds for each mask; by default the index of the mask.
        """
        flat = masks.flatten(1) != 0
        nonempty = flat.any(1)
        source = torch.arange(len(flat), device=flat.device) if source is None else source
        region, patch = flat[nonempty].nonzero(as_tuple=True)
        return cls(patch, region, tuple(masks.shape[1:]), source[nonempty])

    @classmethod
    def from_labels(
        cls, labels: Int[Tensor, "*grid"], source: Int[Tensor, "k"] | None = None
    ) -> Regions:
        """Regions from one label a patch, -1 for none, in the order of the labels.

        Args:
            labels: any integers; the numbering of the regions has no gaps where theirs has.
            source: the mask of each label that occurs, in order; by default none.
        """
        flat = labels.flatten().long()
        patch = (flat >= 0).nonzero()[:, 0]
        ids, region = torch.unique(flat[patch], return_inverse=True)
        order = torch.argsort(region, stable=True)
        source = torch.full_like(ids, -1) if source is None else source
        return cls(patch[order], region[order], tuple(labels.shape), source)

    @property
    def patches(self) -> int:
        """Number of patches of the grid, in a region or not."""
        return prod(self.grid)

    @cached_property
    def sizes(self) -> Int[Tensor, "k"]:
        """Number of patches of each region."""
        return torch.bincount(self.region, minlength=len(self))

    @cached_property
    def starts(self) -> Int[Tensor, "k"]:
        """Where the memberships of each region begin.

        `patch[starts]` is the first patch of each region in raster order.
        """
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
            ValueError: If regions overlap, so that a patch has no single label.
        """
        if self.overlap:
            raise ValueError(
                f"{int((self.counts > 1).sum())} patches lie in several regions; "
                "make them disjoint first, say with segments(..., resolve='smallest')"
            )
        labels = torch.full((self.patches,), -1, dtype=torch.int64, device=self.patch.device)
        labels[self.patch] = self.region
        return labels.view(self.grid)

    @cached_property
    def centroids(self) -> Float[Tensor, "k axes"]:
        """Mean patch coordinates, float64: `[k 2]` (y, x), or `[k 3]` (t, y, x)."""
        coordinates = torch.stack(torch.unravel_index(self.patch, self.grid), dim=1).double()
        sums = coordinates.new_zeros(len(self), len(self.grid))
        return sums.index_add_(0, self.region, coordinates) / self.sizes[:, None]

    def is_partition(self, valid: Bool[Tensor, "*grid"] | None = None) -> bool:
        """True if every (valid) patch lies in exactly one region, and no other patch in any."""
        expected = torch.ones_like(self.counts) if valid is None else valid.long()
        return bool((self.counts == expected).all())

    def take(self, order: Int[Tensor, "j"] | Bool[Tensor, "k"] | Sequence[int]) -> Regions:
        """The regions of `order`, or of a bool mask, in its order, each at most once."""
        order = torch.as_tensor(order, device=self.patch.device)
        order = order.nonzero()[:, 0] if order.dtype == torch.bool else order.long()
        rank = torch.full((len(self),), -1, dtype=torch.int64, device=order.device)
        rank[order] = torch.arange(len(order), device=order.device)
        region = rank[self.region]
        taken = (region >= 0).nonzero()[:, 0]
        taken = taken[torch.argsort(region[taken], stable=True)]
        return Regions(self.patch[taken], region[taken], self.grid, self.source[order])

    def on_frame(self, index: int) -> tuple[Regions, Int[Tensor, "j"]]:
        """The regions of a clip on one of its frames, and which of the clip's regions they are.

        >>> clip = Regions.from_labels(torch.tensor([[[0, 1]], [[2, 1]]]))
        >>> regions, ids = clip.on_frame(1)
        >>> regions.labels.tolist(), ids.tolist()
        ([[1, 0]], [1, 2])

        Raises:
            ValueError: If these are the regions of a single picture.
            IndexError: If the clip has no such frame.
        """
        if len(self.grid) != 3:
            raise ValueError(
                f"only a clip's regions, on a grid (t, h, w), have frames; these lie on {self.grid}"
            )
        if not 0 <= index < self.grid[0]:
            raise IndexError(f"frame {index} of a clip of {self.grid[0]}")
        patches_a_frame = self.grid[1] * self.grid[2]
        inside = self.patch // patches_a_frame == index
        ids, region = torch.unique(self.region[inside], return_inverse=True)
        patch = self.patch[inside] - index * patches_a_frame
        return Regions(patch, region, self.grid[1:], self.source[ids]), ids

    def to(self, device: torch.device | str) -> Regions:
        """The same regions on another device."""
        return Regions(
            self.patch.to(device), self.region.to(device), self.grid, self.source.to(device)
        )


@dataclass(frozen=True, eq=False, repr=False)
class Members:
    """The regions of v views, laid end to end.

    Ids are those of the batch; offsets give back a view's own. An empty view keeps its slot.

    Attributes:
        patch: `[m]` int64, row of the concatenated patch features.
        region: `[m]` int64, region of the batch, ascending.
        patches: `[v + 1]` int64, where each view's patches begin.
        regions: `[v + 1]` int64, where each view's regions begin.
        image: `[v]` int64, ascending: the image of each view.

    >>> Members.of([Regions.singletons((2, 3)), Regions.singletons((1, 2))])
    Members(2 views of 2 images, 8 patches, 8 regions)
    """

    patch: Int[Tensor, "m"]
    region: Int[Tensor, "m"]
    patches: Int[Tensor, "v1"]
    regions: Int[Tensor, "v1"]
    image: Int[Tensor, "v"]

    @classmethod
    def of(cls, views: Sequence[Regions], image: Sequence[int] | Tensor | None = None) -> Members:
        """Lay the regions of several views end to end.

        Args:
            views: the regions of each view.
            image: the image that each view is of; by default every view is of its own image.

        Raises:
            ValueError: If `image` is not one ascending id a view.
        """
        device = views[0].patch.device if views else torch.device("cpu")
        patches = _offsets([view.patches for view in views], device)
        regions = _offsets([len(view) for view in views], device)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        patch = [view.patch + start for view, start in zip(views, patches[:-1], strict=True)]
        region = [view.region + start for view, start in zip(views, regions[:-1], strict=True)]
        image = range(len(views)) if image is None else image
        images = torch.as_tensor(image, dtype=torch.int64, device=device)
        if len(images) != len(views) or bool((images.diff() < 0).any()):
            raise ValueError(
                f"expected one ascending image id for each of {len(views)} views, "
                f"got {images.tolist()}"
            )
        return cls(torch.cat([none, *patch]), torch.cat([none, *region]), patches, regions, images)

    def __len__(self) -> int:
        return int(self.regions[-1])

    def __repr__(self) -> str:
        views = counted(len(self.image), "view")
        images = counted(len(torch.unique(self.image)), "image")
        regions = counted(len(self), "region")
        return f"Members({views} of {images}, {int(self.patches[-1])} patches, {regions})"

    @cached_property
    def sizes(self) -> Int[Tensor, "k"]:
        """Number of patches of each region."""
        return torch.bincount(self.region, minlength=len(self))

    @cached_property
    def view(self) -> Int[Tensor, "k"]:
        """The view of each region, counted over the batch."""
        views = torch.arange(len(self.image), device=self.region.device)
        return torch.repeat_interleave(views, self.regions.diff())


def _offsets(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *counts], dtype=torch.int64, device=device).cumsum(0)

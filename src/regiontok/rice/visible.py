"""Which patches a region sees: the visibility mask of region attention.

After: RICE, section 3.2, eq. 2 (row R4): the mask of region attention.
Differs: the text does not say when a patch belongs to a region. Here a patch is in a box if its
centre is, and in a mask if at least half of it is covered. A box too small for that keeps the patch
under its centre (which a larger box contains in any case; one that is thin in one direction only,
the line of patches under its middle), and a mask the patch that it covers most. Of 124 lines that a
text reader found on 22 photos 44 % were lower than half a patch at 224 pixels: by shares they would
be one patch each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regiontok.core.regions import Regions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Visible:
    """Which patches each region of a batch sees: the visibility mask.

    Attributes:
        mask: `[b r n]`, where r is the largest number of regions of an image; every row sees a
            patch, and rows that stand for no region see all.
        counts: number of regions of each image; their rows come first.
        grid: (h, w), h * w = n.

    >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [2.2, 1.2, 2.4, 1.4]])
    >>> visible = Visible.from_boxes([boxes, torch.zeros(0, 4)], grid=(2, 3))
    >>> visible.mask[0].int().tolist(), visible.counts
    ([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], (2, 0))
    """

    mask: Bool[Tensor, "b r n"]
    counts: tuple[int, ...]
    grid: tuple[int, int]

    @classmethod
    def from_boxes(
        cls, boxes: Sequence[Float[Tensor, "k 4"]] | Float[Tensor, "b k 4"], grid: tuple[int, int]
    ) -> Visible:
        """From the boxes `[k 4]` of each image, xyxy in patches.

        That is pixels of the canvas divided by the patch's side.

        Raises:
            ValueError: If a box has no area, or lies wholly outside the grid.
        """
        for image, of_image in enumerate(boxes):
            _check_boxes(image, of_image, grid)
        return cls._padded([patches_in_boxes(of_image, grid) for of_image in boxes], grid)

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[Bool[Tensor, "k h w"] | Float[Tensor, "k h w"]],
        share: float = 0.5,
    ) -> Visible:
        """From the masks of each image on the grid.

        Args:
            masks: bool, or the share of each patch that a mask covers (`Frame.to_grid`).
            share: share of a patch that a mask must cover.

        Raises:
            ValueError: If there is no image, grids differ, or a mask covers nothing.
        """
        if not len(masks):
            raise ValueError("expected the masks [k h w] of at least one image")
        grid = (masks[0].shape[-2], masks[0].shape[-1])
        for image, of_image in enumerate(masks):
            _check_masks(image, of_image, grid)
        return cls._padded([patches_in_masks(of_image, share) for of_image in masks], grid)

    @classmethod
    def from_views(
        cls,
        boxes: Float[Tensor, "b k 4"],
        shares: Float[Tensor, "b k h w"],
        has_mask: Bool[Tensor, "b k"],
    ) -> Visible:
        """From the regions of training views: by its mask where a region has one, else by its box.

        Args:
            boxes: xyxy in patches.
            shares: the share of each patch that a mask covers; anything where there is none.
            has_mask: which regions have a mask.
        """
        images, count, h, w = shares.shape
        by_box = patches_in_boxes(boxes.flatten(0, 1), (h, w))
        by_mask = patches_in_masks(shares.flatten(0, 1))
        mask = torch.where(has_mask.flatten()[:, None], by_mask, by_box)
        return cls(mask.view(images, count, h * w), (count,) * images, (h, w))

    @classmethod
    def from_regions(cls, regions: Sequence[Regions]) -> Visible:
        """From the regions of each image, all on one grid."""
        return cls.from_masks([of_image.masks for of_image in regions])

    @classmethod
    def joined(cls, images: Sequence[Visible]) -> Visible:
        """One after the other those of some images or batches, all on one grid."""
        rows = [
            mask[:count]
            for visible in images
            for mask, count in zip(visible.mask, visible.counts, strict=True)
        ]
        return cls._padded(rows, images[0].grid)

    @classmethod
    def _padded(cls, rows: Sequence[Bool[Tensor, "k n"]], grid: tuple[int, int]) -> Visible:
        if not rows:
            raise ValueError("expected the regions of at least one image")
        mask = nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=True)
        return cls(mask, tuple(map(len, rows)), grid)

    def flat(self, rows: Float[Tensor, "b r d"]) -> Float[Tensor, "k d"]:
        """The rows that stand for a region, image after image."""
        if min(self.counts) == rows.shape[1]:
            return rows.flatten(0, 1)
        return torch.cat([row[:count] for row, count in zip(rows, self.counts, strict=True)])

    def to(self, device: torch.device | str) -> Visible:
        """The same on another device."""
        return replace(self, mask=self.mask.to(device, non_blocking=True))


def patches_in_boxes(boxes: Float[Tensor, "k 4"], grid: tuple[int, int]) -> Bool[Tensor, "k n"]:
    """The patches of each box, xyxy in patches: those whose centres it holds, at least a line.

    >>> line = torch.tensor([[0.0, 1.0, 3.0, 1.4]])  # 0.4 patches high
    >>> patches_in_boxes(line, (2, 4)).int().tolist()
    [[0, 0, 0, 0, 1, 1, 1, 0]]
    """
    inside = []
    for axis, side in ((1, grid[0]), (0, grid[1])):
        lower, upper = (boxes[:, corner].clamp(0, side) for corner in (axis, axis + 2))
        middle = ((lower + upper) / 2).long().clamp(max=side - 1)
        index = torch.arange(side, device=boxes.device)
        holds_centre = (index + 0.5 >= lower[:, None]) & (index + 0.5 <= upper[:, None])
        # By axis: a box that is thin one way and long the other keeps a whole line of patches.
        inside.append(holds_centre | (index == middle[:, None]))
    in_rows, in_columns = inside
    return (in_rows[:, :, None] & in_columns[:, None, :]).flatten(1)


def patches_in_masks(
    masks: Bool[Tensor, "k h w"] | Float[Tensor, "k h w"], share: float = 0.5
) -> Bool[Tensor, "k n"]:
    """The patches of each mask: those of which it covers a share, at least the one it covers most.

    >>> patches_in_masks(torch.tensor([[[0.5, 0.4]], [[0.1, 0.2]]])).int().tolist()
    [[1, 0], [0, 1]]
    """
    covered = masks.flatten(1).to(torch.promote_types(masks.dtype, torch.float32))
    enough = covered >= share
    if not len(covered):
        return enough
    best_patch = F.one_hot(covered.argmax(1), covered.shape[1]).bool()
    return torch.where(enough.any(1, keepdim=True), enough, best_patch)


def _check_boxes(image: int, boxes: Float[Tensor, "k 4"], grid: tuple[int, int]) -> None:
    """Raise if a box of an image holds nothing of the grid."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes [k 4] as xyxy in patches, got {list(boxes.shape)}")
    h, w = grid
    bounds = torch.tensor([w, h, w, h], dtype=boxes.dtype, device=boxes.device)
    clipped = boxes.clamp(min=0).minimum(bounds)
    empty = (~(clipped[:, :2] < clipped[:, 2:]).all(-1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"image {image}: box {boxes[empty[0]].tolist()} covers nothing of the {h} x {w} grid "
            "(xyxy, in patches); drop regions that lie outside the crop"
        )


def _check_masks(image: int, masks: Tensor, grid: tuple[int, int]) -> None:
    """Raise if a mask of an image covers nothing, or lies on another grid."""
    if masks.ndim != 3 or tuple(masks.shape[1:]) != grid:
        raise ValueError(
            f"expected masks [k {grid[0]} {grid[1]}] of every image, got {list(masks.shape)}"
        )
    empty = (~(masks > 0).flatten(1).any(1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"image {image}: mask {empty[0]} covers nothing of the grid; drop regions that lie "
            "outside the crop"
        )

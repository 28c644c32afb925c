"""Views of one size as tensors: a batch that moves between memories as one.

Differs: pixels are laid out channel by channel while they are stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from regiontok.shards.views import View

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """Views of one size, stacked.

    Attributes:
        pixels: `[b 3 H W]` uint8.
        boxes: `[b N 4]` float32, xyxy in pixels of the view.
        kinds: `[b N]` int8: 0 for an object, 1 for text.
        labels: `[b N M]` int64, -1 for none.
        excluded: `[b N E]` int64, a text's other token ids, -1 for none.
        has_mask: `[b N]` bool: True where the shares are of a mask, not of a box.
        shares: `[b N h w]` float32, share of each patch inside a region; or None.
        images: (shard, index) of each view.
        dropped: number of regions that crops left outside.
        skipped: images passed over, with reasons.
    """

    pixels: UInt8[Tensor, "b 3 H W"]
    boxes: Float[Tensor, "b N 4"]
    kinds: Int[Tensor, "b N"]
    labels: Int[Tensor, "b N M"]
    excluded: Int[Tensor, "b N E"]
    has_mask: Bool[Tensor, "b N"]
    shares: Float[Tensor, "b N h w"] | None
    images: tuple[tuple[str, int], ...]
    dropped: int
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def pin_memory(self) -> RegionBatch:
        """The batch in page-locked memory; DataLoader asks for it."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def to(self, device: str | torch.device) -> RegionBatch:
        """The batch on another device; from page-locked memory without waiting."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> RegionBatch:
        tensors = {
            name: getattr(self, name)
            for name in ("pixels", "boxes", "kinds", "labels", "excluded", "has_mask", "shares")
        }
        mapped: dict[str, Any] = {
            name: function(tensor) for name, tensor in tensors.items() if tensor is not None
        }
        return replace(self, **mapped)


def collate(views: Sequence[View]) -> RegionBatch:
    """Stack views of the same settings."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(view, name) for view in views]))

    return RegionBatch(
        pixels=_planes([view.pixels for view in views]),
        boxes=stacked("boxes"),
        kinds=stacked("kinds"),
        labels=stacked("labels"),
        excluded=_excluded([view.excluded for view in views]),
        has_mask=stacked("has_mask"),
        shares=None if views[0].shares is None else stacked("shares"),
        images=tuple((view.shard, view.index) for view in views),
        dropped=sum(view.dropped for view in views),
        skipped=tuple(reason for view in views for reason in view.skipped),
    )


def _excluded(tables: Sequence[np.ndarray]) -> Tensor:
    """Tables `[N E]` of different widths as one `[b N E]`, filled up with -1."""
    return joined_ids([torch.from_numpy(table)[None] for table in tables])


def joined_ids(tables: Sequence[Int[Tensor, "b N E"]]) -> Int[Tensor, "c N E"]:
    """Tables of ids of some images, one after the other, filled up with -1 to the widest."""
    widest = max(table.shape[-1] for table in tables)
    return torch.cat([pad(table, (0, widest - table.shape[-1]), value=-1) for table in tables])


def joined_batches(batches: Sequence[RegionBatch]) -> RegionBatch:
    """Batches of views of the same settings, one after the other."""

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    return RegionBatch(
        pixels=joined("pixels"),
        boxes=joined("boxes"),
        kinds=joined("kinds"),
        labels=joined("labels"),
        excluded=joined_ids([batch.excluded for batch in batches]),
        has_mask=joined("has_mask"),
        shares=None if batches[0].shares is None else joined("shares"),
        images=tuple(image for batch in batches for image in batch.images),
        dropped=sum(batch.dropped for batch in batches),
        skipped=tuple(reason for batch in batches for reason in batch.skipped),
    )


def _planes(pixels: Sequence[np.ndarray]) -> Tensor:
    """Images `[H W 3]` as `[b 3 H W]`.

    Channel by channel it takes 0.04 ms an image of 224 x 224; stacked and then permuted 0.18.
    """
    planes = np.empty((len(pixels), 3, *pixels[0].shape[:2]), np.uint8)
    for image_planes, image in zip(planes, pixels, strict=True):
        for channel in range(3):
            image_planes[channel] = image[..., channel]
    return torch.from_numpy(planes)

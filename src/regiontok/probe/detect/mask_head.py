"""The mask head: one mask a class for each box, and masks of a box on the picture's pixels.

After: Mask R-CNN (four convolutions, one transposed, 28 x 28); detectron2 for where pixels lie.
Differs: true masks are read in the picture's own pixels, through the frame, and are not resized to
the canvas first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from regiontok.core.masks import PixelMasks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CHUNK = 32  # masks that are laid on the picture at once


class MaskHead(nn.Sequential):
    """Convolutions, a transposed one, and a mask of each class.

    Args:
        channels: channels of the pyramid.
        convolutions: how many convolutions of 3x3 come first.
        classes: how many classes there are, without the background.
    """

    def __init__(self, channels: int, convolutions: int, classes: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        layers += [nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.ReLU()]
        last = nn.Conv2d(channels, classes, 1)
        super().__init__(*layers, last)
        for layer in layers[::2]:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(last.weight, std=0.001)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has one


def mask_loss(
    logits: Float[Tensor, "n c s s"], labels: Tensor, wanted: Sequence[Float[Tensor, "k s s"]]
) -> Tensor:
    """Binary cross-entropy of the mask of each box's own class; 0 without boxes.

    Args:
        logits: of the boxes of all pictures.
        labels: `[n]` from 1: class c has the label c + 1.
        wanted: true masks of the boxes, picture by picture, as `true_masks_of` gives them.
    """
    if not len(logits):
        return logits.sum() * 0.0
    own = logits[torch.arange(len(logits), device=logits.device), labels - 1]
    return F.binary_cross_entropy_with_logits(own.float(), torch.cat(list(wanted)).to(own.device))


def true_masks_of(
    masks: PixelMasks, objects: Sequence[int], boxes: Float[Tensor, "k 4"], size: int
) -> Float[Tensor, "k s s"]:
    """What of an object lies in each cell of a box, 0 or 1.

    Args:
        masks: the objects' masks, in the picture's pixels.
        objects: the object of each box.
        boxes: xyxy, in the picture's pixels.
        size: cells of the result along a side.
    """
    if not len(objects):
        return torch.zeros(0, size, size)
    seen = sorted(set(objects))
    dense = masks.dense(seen).float()[:, None]
    rows = torch.tensor([float(seen.index(number)) for number in objects])
    rois = torch.cat([rows[:, None], boxes.cpu().float()], dim=1)
    shares = roi_align(dense, rois, size, spatial_scale=1.0, aligned=True)[:, 0]
    return (shares >= 0.5).float()


def on_picture(
    masks: Float[Tensor, "k s s"], boxes: Float[Tensor, "k 4"], size: tuple[int, int]
) -> Bool[Tensor, "k H W"]:
    """Masks of boxes on the pixels of a picture: True where the probability is at least 1/2.

    Args:
        masks: probabilities of the cells of each box.
        boxes: xyxy, in the picture's pixels.
        size: (H, W) of the picture.

    >>> half = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> on_picture(half, torch.tensor([[1.0, 0.0, 5.0, 2.0]]), (2, 6))[0].int().tolist()
    [[0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0]]
    """
    if not len(masks):
        return torch.zeros(0, *size, dtype=torch.bool, device=masks.device)
    chunks = zip(masks.split(CHUNK), boxes.split(CHUNK), strict=True)
    return torch.cat([_sampled(own, places, size) >= 0.5 for own, places in chunks])


def _sampled(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Float[Tensor, "k H W"]:
    """The masks between their cells' middles, at the middle of every pixel; 0 outside a box."""
    x, y = (
        (torch.arange(length, device=masks.device) + 0.5)[None] for length in (size[1], size[0])
    )
    left, top, right, bottom = (edge[:, None] for edge in boxes.to(masks).unbind(1))
    columns = (x - left) / (right - left).clamp(min=1e-6) * 2 - 1
    rows = (y - top) / (bottom - top).clamp(min=1e-6) * 2 - 1
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size[0], -1),
            rows[:, :, None].expand(-1, -1, size[1]),
        ],
        dim=-1,
    )
    inside = (grid.abs() <= 1).all(-1)
    values = F.grid_sample(
        masks[:, None], grid, align_corners=False, padding_mode="border", mode="bilinear"
    )
    return values[:, 0] * inside

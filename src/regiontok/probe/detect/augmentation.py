"""What is done to a picture and its objects in training: mirrored, scaled, cut or padded.

After: detectron2 (flip); "Simple Copy-Paste" and ViTDet (large-scale jitter: scales 0.1 to 2 of a
square canvas, cut at a random place, padded with grey).
Differs: an object of which less than one pixel is left is dropped, as everywhere here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.probe.detect.objects import Objects

GREY = 128
SCALES = (0.1, 2.0)
LEAST = 1.0  # pixels of a box's side


def flipped(picture: Picture, objects: Objects) -> tuple[Picture, Objects]:
    """A picture and its objects, mirrored left to right."""
    width = picture.size[1]
    boxes = objects.boxes
    mirrored = torch.stack(
        [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1
    )
    masks = objects.masks
    if masks is not None:
        masks = PixelMasks.from_dense(masks.dense().flip(2))
    pixels = np.ascontiguousarray(picture.pixels[:, ::-1])
    return Picture.of(pixels, picture.name), Objects(mirrored, objects.classes, masks)


def jittered(
    picture: Picture, objects: Objects, side: int, rng: np.random.Generator
) -> tuple[Picture, Objects]:
    """A picture scaled at random and cut or padded to a square, with what is left of its objects.

    Args:
        picture: the picture.
        objects: its objects.
        side: of the square, in pixels.
        rng: draws the scale and the place of the cut.
    """
    scale = rng.uniform(*SCALES) * side / max(picture.size)
    height, width = (max(1, round(length * scale)) for length in picture.size)
    top, left = (int(rng.integers(0, max(0, length - side) + 1)) for length in (height, width))
    bottom, right = min(top + side, height), min(left + side, width)
    y, x = height / picture.size[0], width / picture.size[1]
    crop = (top / y, left / x, bottom / y, right / x)
    canvas = np.full((side, side, 3), GREY, np.uint8)
    canvas[: bottom - top, : right - left] = picture.resized(
        (bottom - top, right - left), crop, "bilinear"
    )
    moved = objects.boxes * torch.tensor([x, y, x, y]) - torch.tensor([left, top, left, top])
    boxes = torch.minimum(
        moved.clamp(min=0), torch.tensor([right - left, bottom - top, right - left, bottom - top])
    )
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST).all(1).nonzero()[:, 0]
    masks = objects.masks
    if masks is not None:
        rows, columns = (
            ((torch.arange(start, end) + 0.5) / factor).long()
            for start, end, factor in ((top, bottom, y), (left, right, x))
        )
        masks = _cut(masks.take(kept.tolist()), rows, columns, side)
    return Picture.of(canvas, picture.name), Objects(boxes[kept], objects.classes[kept], masks)


def _cut(masks: PixelMasks, rows: Tensor, columns: Tensor, side: int) -> PixelMasks:
    """The masks at these rows and columns, in the upper left corner of a square."""
    dense = torch.zeros(len(masks), side, side, dtype=torch.bool)
    dense[:, : len(rows), : len(columns)] = masks.dense()[:, rows][:, :, columns]
    return PixelMasks.from_dense(dense)

"""Boxes that a model writes as text: the accuracy of referring-expression comprehension.

After: the evaluation of Visual-CoT (Shao et al., NeurIPS 2024): a reply holds `[x1, y1, x2, y2]` in
parts of the picture padded to a square; it is right if its IoU with the true box is above 0.5.
Differs: nothing known.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
RIGHT_IOU = 0.5  # a box is right above it, not at it
_NUMBER = r"\s*(-?\d+(?:\.\d+)?|-?\.\d+)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


def read_box(reply: str) -> Box | None:
    """The first box in a reply, in the numbers that it has; None if there is none.

    >>> read_box("It is at [0.1, .2, 0.5, 1]."), read_box("I cannot see it.")
    ((0.1, 0.2, 0.5, 1.0), None)
    """
    found = _BOX.search(reply)
    if found is None:
        return None
    x0, y0, x1, y1 = map(float, found.groups())
    return x0, y0, x1, y1


def on_padded_square(box: Box, size: tuple[int, int]) -> Box:
    """A pixel box in parts of the picture padded to a square, with the picture in the middle.

    Args:
        box: xyxy in pixels.
        size: (H, W) of the picture.

    >>> on_padded_square((0, 0, 200, 100), (100, 200))
    (0.0, 0.25, 1.0, 0.75)
    """
    height, width = size
    side, padding = max(size), abs(width - height) // 2
    left, top = (padding, 0) if height > width else (0, padding)
    x0, y0, x1, y1 = box
    return (x0 + left) / side, (y0 + top) / side, (x1 + left) / side, (y1 + top) / side


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two xyxy boxes; 0 if either has no area.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width, height = (
        min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis]) for axis in (0, 1)
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    if min(width, height, *areas) <= 0 or not all(map(math.isfinite, areas)):
        return 0.0
    both = width * height
    return both / (sum(areas) - both)


def is_right(reply: str, box: Box, size: tuple[int, int]) -> bool:
    """True if the box in a reply is right; a reply without a box is wrong.

    Args:
        reply: the model's words.
        box: the true box, xyxy in pixels.
        size: (H, W) of the picture.
    """
    written = read_box(reply)
    return written is not None and box_iou(written, on_padded_square(box, size)) > RIGHT_IOU

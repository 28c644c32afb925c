"""Boxes of a side-car: each an xyxy box within its image, as written and as read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.shards.tar import ShardError


def are_inside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`[k]` bool: which boxes are finite, not empty, and within their image.

    Args:
        boxes: `[k 4]`, xyxy.
        sizes: `[k 2]`, or `[1 2]` for all: width and height of the image.
    """
    # NaN compares False
    above, below = boxes[:, 2:] > np.maximum(boxes[:, :2], 0), boxes[:, 2:] <= sizes
    inside: np.ndarray = np.concatenate([boxes[:, :2] >= 0, above, below], axis=1).all(axis=1)  # type: ignore[assignment]
    return inside


def check_boxes(
    path: Path, scalars: Mapping[str, Sequence[Any]], starts: Sequence[int], values: np.ndarray
) -> None:
    """Raise unless the boxes of a row group are as a writer leaves them.

    Args:
        path: the side-car.
        scalars: index, height and width of each image.
        starts: where the numbers of an image's boxes start among the values.
        values: the numbers of all boxes.

    Raises:
        ShardError: If a box is none, or an image has no size.
    """
    counts = np.diff(starts)
    if (counts % 4).any() or None in scalars["height"] or None in scalars["width"]:
        raise ShardError(f"{path}: corrupt (boxes of other than four numbers, or no size)")
    boxes = values[starts[0] : starts[-1]].reshape(-1, 4)
    images = np.arange(len(counts)).repeat(counts // 4)
    sizes = np.array([scalars["width"], scalars["height"]]).T.reshape(-1, 2)[images]
    inside = are_inside(boxes, sizes)
    if not inside.all():
        region = int(np.flatnonzero(~inside)[0])
        raise ShardError(
            f"{path}: corrupt (image {scalars['index'][images[region]]} has the box "
            f"{boxes[region].tolist()}, which is no xyxy box within it)"
        )

"""Segmenting at a bounded size: a picture's pixels shrunk to it, and labels brought back by nearest
neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.picture import Picture

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8


def shrunk(picture: Picture, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels, with the longer side at most `longest` and the aspect kept; never enlarged.

    >>> shrunk(Picture.of(np.zeros((2000, 10, 3), np.uint8)), longest=640).shape
    (640, 3, 3)
    """
    high, wide = picture.size
    share = longest / max(high, wide)
    if share >= 1:
        return picture.pixels
    size = (max(1, round(high * share)), max(1, round(wide * share)))
    return picture.resized(size, (0, 0, high, wide), "bilinear")


def at_full_size(labels: Int[np.ndarray, "h w"], size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """Labels of a shrunk picture on its own pixels: each takes the label under its centre, so none
    is invented and none is lost.

    >>> at_full_size(np.array([[0, 1]]), (2, 4)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if labels.shape == size:
        return labels
    rows, columns = (
        ((2 * np.arange(full) + 1) * small) // (2 * full)
        for full, small in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]

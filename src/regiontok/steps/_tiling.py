"""How a grid is cut into windows, so many down and so many across: for `windows` and `stride`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from regiontok.core.grid import PatchGrid

if TYPE_CHECKING:
    from jaxtyping import Bool


def valid_box(valid: Bool[Tensor, "h w"]) -> tuple[slice, slice]:
    """The rows and the columns from the first to the last valid patch."""
    positions = valid.nonzero()
    (top, left), (bottom, right) = (
        positions.min(0).values.tolist(),
        positions.max(0).values.tolist(),
    )
    return slice(top, bottom + 1), slice(left, right + 1)


def patch_aspect(grid: PatchGrid) -> float:
    """The height over the width of one patch in pixels of the photo: 1 unless it was stretched."""
    frame = grid.frame
    y0, x0, y1, x1 = frame.crop
    height = frame.patch[0] * (y1 - y0) / frame.resized[0]
    width = frame.patch[1] * (x1 - x0) / frame.resized[1]
    return height / width


def nearest_tiling(k: int, h: int, w: int, aspect: float = 1.0) -> tuple[int, int]:
    """(down, across) with down * across as near to k as a grid of h x w patches allows.

    Of equally near pairs the one with fewer windows is taken, then the one whose windows are most
    nearly square. `aspect` is the height over the width of a patch.

    >>> nearest_tiling(6, 4, 9), nearest_tiling(8, 24, 24, aspect=0.5), nearest_tiling(29, 24, 24)
    ((2, 3), (2, 4), (4, 7))
    """

    def badness(pair: tuple[int, int]) -> tuple[int, int, float]:
        down, across = pair
        window_aspect = aspect * (h / down) / (w / across)
        return abs(down * across - k), down * across, abs(math.log(window_aspect))

    candidates = ((down, k // down + extra) for down in range(1, h + 1) for extra in (0, 1))
    return min(((down, min(max(across, 1), w)) for down, across in candidates), key=badness)

"""How a grid is cut into down x across windows: what `windows` and `stride` share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from regiontok.core.grid import PatchGrid

if TYPE_CHECKING:
    from jaxtyping import Bool


def seen(valid: Bool[Tensor, "h w"]) -> tuple[slice, slice]:
    """Rows and columns from the first to the last valid patch."""
    at = valid.nonzero()
    low, high = at.min(0).values.tolist(), (at.max(0).values + 1).tolist()
    return slice(low[0], high[0]), slice(low[1], high[1])


def on_photo(grid: PatchGrid) -> float:
    """Height over width of one patch, in pixels of the photo: 1 unless the photo was stretched."""
    frame = grid.frame
    y0, x0, y1, x1 = frame.crop
    return (frame.patch[0] * (y1 - y0) / frame.resized[0]) / (
        frame.patch[1] * (x1 - x0) / frame.resized[1]
    )


def cut(k: int, h: int, w: int, aspect: float = 1.0) -> tuple[int, int]:
    """(down, across) with down * across as near k as an h x w grid allows, of equals the fewer,
    then the most nearly square.

    `aspect` is the height over the width of a patch.

    >>> cut(6, 4, 9), cut(8, 24, 24, aspect=0.5), cut(29, 24, 24)
    ((2, 3), (2, 4), (4, 7))
    """

    def badness(pair: tuple[int, int]) -> tuple[int, int, float]:
        down, across = pair
        return (
            abs(down * across - k),
            down * across,
            abs(math.log(aspect * (h / down) / (w / across))),
        )

    around = ((down, k // down + more) for down in range(1, h + 1) for more in (0, 1))
    return min(((down, min(max(across, 1), w)) for down, across in around), key=badness)

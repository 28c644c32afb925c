"""Share of each patch that run-length masks cover: `Frame.to_grid`, compiled, for one crop that fills its view.

After: core/frame.py (exact area overlap), whose numbers these are (a test compares them).
Differs: the code is walked as it lies, column by column, without its runs as an array; 10 masks take a fraction of the decoding of one
photo, and `Frame.to_grid` more than that (bench/shards.py: 0.9 of a bare loop was out of reach).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float

FAULTS = (
    "",
    "breaks off in the middle",
    "holds a negative run",
    "describes more pixels than the image has",
    "describes fewer pixels",
)


def mask_shares(
    codes: Sequence[bytes], size: tuple[int, int], crop: tuple[int, int, int, int], grid: tuple[int, int]
) -> Float[np.ndarray, "k h w"]:
    """`[k h w]` float32. `crop` = (y0, x0, y1, x1) of the image of `size` is what the patches of `grid` cover.

    Raises:
        ValueError: a code that does not describe an image of this size.

    >>> round(float(mask_shares([b"0230NO"], (3, 3), (0, 0, 3, 3), (1, 1))[0, 0, 0]), 2)  # 5 of 9 pixels
    0.56
    """
    shares = np.zeros((len(codes), *grid), np.float64)
    y0, x0, y1, x1 = map(float, crop)
    for at, code in enumerate(codes):
        fault = _walk(np.frombuffer(code, np.uint8), size[0], size[1], y0, x0, y1, x1, shares[at])
        if fault:
            raise ValueError(f"run-length code {at} {FAULTS[fault]} (expected {size[0]} x {size[1]})")
    shares[shares < 1e-9] = 0  # edges that agree but for rounding do not touch
    return shares.astype(np.float32)


@njit(nogil=True, error_model="numpy", cache=True)
def _walk(code, high, wide, y0, x0, y1, x1, shares):
    """Adds the area of every run to the patches it lies on; returns a number of FAULTS."""
    down, along = shares.shape[0] / (y1 - y0), shares.shape[1] / (x1 - x0)
    place, last, before = np.int64(0), np.int64(0), np.int64(0)
    inside, number, at = False, 0, 0
    while at < len(code):
        run, shift = np.int64(0), 0
        while True:
            if at == len(code) or shift > 35:
                return 1
            digit = np.int64(code[at]) - 48
            at += 1
            run |= (digit & 31) << shift
            shift += 5
            if not digit & 32:
                if digit & 16:
                    run |= np.int64(-1) << shift
                break
        if number > 2:
            run += before
        if run < 0:
            return 2
        before, last, number = last, run, number + 1
        if place + run > high * wide:
            return 3
        end = place + run
        while inside and place < end:
            column = place // high
            stop = min(end, (column + 1) * high)
            top, bottom = max(place - column * high, y0), min(stop - column * high, y1)
            _add(shares, top, bottom, max(column, x0), min(column + 1, x1), y0, x0, down, along)
            place = stop
        place, inside = end, not inside
    return 0 if place == high * wide else 4


@njit(nogil=True, error_model="numpy", cache=True)
def _add(shares, top, bottom, left, right, y0, x0, down, along):
    """A rectangle of image pixels, cut to the crop."""
    if top >= bottom or left >= right:
        return
    v0, v1, u0, u1 = (top - y0) * down, (bottom - y0) * down, (left - x0) * along, (right - x0) * along
    for i in range(int(v0), min(int(np.ceil(v1)), shares.shape[0])):
        tall = min(v1, i + 1) - max(v0, i)
        for j in range(int(u0), min(int(np.ceil(u1)), shares.shape[1])):
            shares[i, j] += tall * (min(u1, j + 1) - max(u0, j))

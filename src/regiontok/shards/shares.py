"""Share of each patch that run-length masks cover: `Frame.to_grid`, compiled, for one crop that
fills its view.

After: core/frame.py (exact area overlap), whose numbers these are (a test compares them).
Differs: the codes are walked as they lie, column by column, without their runs as an array; 10
masks take a fraction of the decoding of one photo, and `Frame.to_grid` more than that
(bench/shards.py: 0.9 of a bare loop was out of reach).
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
    codes: Sequence[bytes],
    size: tuple[int, int],
    crop: tuple[int, int, int, int],
    grid: tuple[int, int],
) -> Float[np.ndarray, "k h w"]:
    """`[k h w]` float32. `crop` = (y0, x0, y1, x1) of the image of `size` is what the patches of
    `grid` cover.

    Raises:
        ValueError: a code that does not describe an image of this size.

    >>> round(float(mask_shares([b"0230NO"], (3, 3), (0, 0, 3, 3), (1, 1))[0, 0, 0]), 2)  # 5 of 9 pixels
    0.56
    """
    shares = np.empty((len(codes), *grid), np.float32)
    ends = np.array([len(code) for code in codes], np.int64).cumsum()
    y0, x0, y1, x1 = map(float, crop)
    at, fault = _lay(
        np.frombuffer(b"".join(codes), np.uint8), ends, size[0], size[1], y0, x0, y1, x1, shares
    )
    if fault:
        raise ValueError(f"run-length code {at} {FAULTS[fault]} (expected {size[0]} x {size[1]})")
    return shares


@njit(nogil=True, error_model="numpy", cache=True)
def _lay(codes, ends, high, wide, y0, x0, y1, x1, shares):
    """Fills shares `[k h w]`; codes lie end to end, each up to its entry of `ends`. Returns a
    code's place and a number of FAULTS."""
    cells, start = (
        np.empty((shares.shape[2], shares.shape[1])),
        0,
    )  # [w h]: a run goes down a column
    for at in range(len(ends)):
        cells[:] = 0
        fault = _walk(codes[start : ends[at]], high, wide, y0, x0, y1, x1, cells)
        if fault:
            return at, fault
        start = ends[at]
        for j in range(cells.shape[0]):
            for i in range(cells.shape[1]):  # edges that agree but for rounding do not touch
                shares[at, i, j] = cells[j, i] if cells[j, i] >= 1e-9 else 0
    return 0, 0


@njit(nogil=True, error_model="numpy", cache=True)
def _walk(code, high, wide, y0, x0, y1, x1, cells):
    """Adds the area of every run to the patches it lies on; returns a number of FAULTS."""
    left, last, before = np.int64(high) * wide, np.int64(0), np.int64(0)
    down, along = cells.shape[1] / (y1 - y0), cells.shape[0] / (x1 - x0)
    column, row = np.int64(0), np.int64(0)
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
        left -= run
        if left < 0:
            return 3
        row += run
        while row >= high > 0:
            if inside:
                _add(cells, column, row - run, high, y0, x0, y1, x1, down, along)
            row, run, column = row - high, row - high, column + 1
        if inside:
            _add(cells, column, row - run, row, y0, x0, y1, x1, down, along)
        inside = not inside
    return 4 if left else 0


@njit(nogil=True, error_model="numpy", cache=True)
def _add(cells, column, start, stop, y0, x0, y1, x1, down, along):
    """The pixels start..stop-1 of a column of the image, as far as they are in the crop."""
    top, bottom, left, right = max(start, y0), min(stop, y1), max(column, x0), min(column + 1, x1)
    if top >= bottom or left >= right:
        return
    v0, v1, u0, u1 = (
        (top - y0) * down,
        (bottom - y0) * down,
        (left - x0) * along,
        (right - x0) * along,
    )
    for j in range(int(u0), min(int(np.ceil(u1)), cells.shape[0])):
        wide = min(u1, j + 1) - max(u0, j)
        for i in range(int(v0), min(int(np.ceil(v1)), cells.shape[1])):
            cells[j, i] += (min(v1, i + 1) - max(v0, i)) * wide

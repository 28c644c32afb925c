"""Share of each patch that run-length masks cover, compiled, for one crop that fills its view.

After: `Frame.to_grid` in core/frame.py (exact area overlap), whose numbers these are (a test
compares them).
Differs: the codes are walked as they lie, column by column, without their runs as an array; 10
masks take a fraction of the decoding of one photo, and `Frame.to_grid` more than that
(bench/shards.py: 0.9 of a bare loop was out of reach).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from regiontok.system.compiled import compiled

if TYPE_CHECKING:
    from jaxtyping import Float

Pixel = int | np.int64
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
    """Share of each patch that each mask covers, `[k h w]` float32.

    Args:
        codes: k compressed COCO run-length codes.
        size: (H, W) of their image.
        crop: (y0, x0, y1, x1) of the image that the patches cover.
        grid: (h, w) patches.

    Raises:
        ValueError: If a code does not describe an image of this size.

    >>> shares = mask_shares([b"0230NO"], (3, 3), (0, 0, 3, 3), (1, 1))  # 5 of 9 pixels
    >>> round(float(shares[0, 0, 0]), 2)
    0.56
    """
    shares = np.empty((len(codes), *grid), np.float32)
    ends = np.array([len(code) for code in codes], np.int64).cumsum()
    joined = np.frombuffer(b"".join(codes), np.uint8)
    y0, x0, y1, x1 = map(float, crop)
    number, fault = _fill_shares(joined, ends, size[0], size[1], y0, x0, y1, x1, shares)
    if fault:
        raise ValueError(
            f"run-length code {number} {FAULTS[fault]} (expected {size[0]} x {size[1]})"
        )
    return shares


@compiled(error_model="numpy")
def _fill_shares(
    codes: np.ndarray,
    ends: np.ndarray,
    height: int,
    width: int,
    y0: float,
    x0: float,
    y1: float,
    x1: float,
    shares: np.ndarray,
) -> tuple[int, int]:
    """Fill `shares` `[k h w]`; codes lie end to end, each up to its entry of `ends`.

    Returns:
        The number of a faulty code and the number of its fault in `FAULTS`; or 0, 0.
    """
    cells = np.empty((shares.shape[2], shares.shape[1]))  # [w h]: a run goes down a column
    start = 0
    for number in range(len(ends)):
        cells[:] = 0
        fault = _add_runs(codes[start : ends[number]], height, width, y0, x0, y1, x1, cells)
        if fault:
            return number, fault
        start = ends[number]
        for j in range(cells.shape[0]):
            for i in range(cells.shape[1]):  # edges that agree but for rounding do not touch
                shares[number, i, j] = cells[j, i] if cells[j, i] >= 1e-9 else 0
    return 0, 0


@compiled(error_model="numpy")
def _add_runs(
    code: np.ndarray,
    height: int,
    width: int,
    y0: float,
    x0: float,
    y1: float,
    x1: float,
    cells: np.ndarray,
) -> int:
    """Add the area of every run to the patches it lies on; return the number of a fault."""
    pixels_left = np.int64(height) * width
    last_run, run_before_last = np.int64(0), np.int64(0)
    cells_down, cells_along = cells.shape[1] / (y1 - y0), cells.shape[0] / (x1 - x0)
    column, row = np.int64(0), np.int64(0)
    inside, number, index = False, 0, 0
    while index < len(code):
        run, shift = np.int64(0), 0
        while True:
            if index == len(code) or shift > 35:
                return 1
            digit = np.int64(code[index]) - 48
            index += 1
            run |= (digit & 31) << shift
            shift += 5
            if not digit & 32:
                if digit & 16:
                    run |= np.int64(-1) << shift
                break
        if number > 2:
            run += run_before_last
        if run < 0:
            return 2
        run_before_last, last_run, number = last_run, run, number + 1
        pixels_left -= run
        if pixels_left < 0:
            return 3
        row += run
        while row >= height > 0:
            if inside:
                _add(cells, column, row - run, height, y0, x0, y1, x1, cells_down, cells_along)
            row, run, column = row - height, row - height, column + 1
        if inside:
            _add(cells, column, row - run, row, y0, x0, y1, x1, cells_down, cells_along)
        inside = not inside
    return 4 if pixels_left else 0


@compiled(error_model="numpy")
def _add(
    cells: np.ndarray,
    column: Pixel,
    start: Pixel,
    stop: Pixel,
    y0: float,
    x0: float,
    y1: float,
    x1: float,
    cells_down: float,
    cells_along: float,
) -> None:
    """Add the pixels start to stop - 1 of a column of the image, as far as they are in the crop."""
    top, bottom, left, right = max(start, y0), min(stop, y1), max(column, x0), min(column + 1, x1)
    if top >= bottom or left >= right:
        return
    v0, v1 = (top - y0) * cells_down, (bottom - y0) * cells_down
    u0, u1 = (left - x0) * cells_along, (right - x0) * cells_along
    for j in range(int(u0), min(int(np.ceil(u1)), cells.shape[0])):
        overlap = min(u1, j + 1) - max(u0, j)
        for i in range(int(v0), min(int(np.ceil(v1)), cells.shape[1])):
            cells[j, i] += (min(v1, i + 1) - max(v0, i)) * overlap

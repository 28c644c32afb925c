"""Frames of an image that is cut into tiles: of the whole canvas, of one tile, of what unpads.

After: LLaVA-NeXT (`resize_and_pad_image`, `unpad_image`, as in LLaVA's code and in transformers).
Differs: where LLaVA's unpadding would leave nothing (of a strip thinner than a patch), the patches
that see the image stay.
"""

from __future__ import annotations

from math import ceil

from regiontok.core.frame import Frame, Pair
from regiontok.core.tiling import Tiling


def canvas_frame(tiling: Tiling, image: Pair, tile: Pair, patch: Pair) -> Frame:
    """The frame of the canvas of all tiles, for the grid of tiles that fits the image best.

    The image keeps its aspect ratio and is centred; the rest of the canvas is padding.

    Args:
        tiling: the grids to choose from.
        image: size of the image in pixels.
        tile: size of one tile in pixels.
        patch: size of one patch in pixels.
    """
    rows, columns = tiling.best(image, tile)
    canvas = rows * tile[0], columns * tile[1]
    scale = min(canvas[0] / image[0], canvas[1] / image[1])
    resized = min(ceil(image[0] * scale), canvas[0]), min(ceil(image[1] * scale), canvas[1])
    return Frame(
        image=image,
        crop=(0.0, 0.0, float(image[0]), float(image[1])),
        resized=resized,
        offset=((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2),
        canvas=canvas,
        patch=patch,
    )


def window_frame(frame: Frame, start: Pair, size: Pair) -> Frame | None:
    """The frame of a window on a frame's canvas; None if the window shows nothing of the image.

    Args:
        frame: frame of the whole canvas.
        start: (y, x) of the window's upper left corner on the canvas.
        size: (height, width) of the window in canvas pixels.

    >>> frame = Frame.letterbox((100, 200), canvas=(56, 56), patch=(14, 14))
    >>> right_half = window_frame(frame, (0, 28), (28, 28))
    >>> right_half
    Frame(image 100 x 200, canvas 28 x 28, 2 x 2 patches)
    >>> right_half.crop, right_half.resized, right_half.offset
    ((0.0, 100.0, 50.0, 200.0), (14, 28), (14, 0))
    """
    rows, columns = (_window_span(frame, axis, start[axis], size[axis]) for axis in (0, 1))
    if rows is None or columns is None:
        return None
    (top, bottom, y0, y1), (left, right, x0, x1) = rows, columns
    return Frame(
        image=frame.image,
        crop=(y0, x0, y1, x1),
        resized=(bottom - top, right - left),
        offset=(top - start[0], left - start[1]),
        canvas=size,
        patch=frame.patch,
    )


def _window_span(
    frame: Frame, axis: int, start: int, length: int
) -> tuple[int, int, float, float] | None:
    """What a window shows of the image along an axis: its ends on the canvas and in the image."""
    image_begin = frame.offset[axis]
    image_end = image_begin + frame.resized[axis]
    begin, end = max(image_begin, start), min(image_end, start + length)
    if begin >= end:
        return None
    first, last = frame.crop[axis], frame.crop[axis + 2]
    per_pixel = (last - first) / frame.resized[axis]
    crop_begin = first + (begin - image_begin) * per_pixel
    # The end of the image itself is taken without rounding.
    crop_end = last if end == image_end else first + (end - image_begin) * per_pixel
    return begin, end, crop_begin, crop_end


def unpadded_patches(frame: Frame) -> tuple[slice, slice]:
    """The rows and the columns of patches that LLaVA's `unpad_image` leaves of a whole canvas.

    It reckons in patches and drops the same number at either end, so that up to half a patch of
    image may be dropped on each side.
    """
    (h, w), (height, width) = frame.grid, frame.image
    if width / height > w / h:
        dropped = (h - int(round(height * (w / width), 7))) // 2, 0
    else:
        dropped = 0, (w - int(round(width * (h / height), 7))) // 2
    slices = []
    for axis, (count, side) in enumerate(zip(dropped, (h, w), strict=True)):
        left = slice(count, side - count)
        if left.start >= left.stop:
            valid = frame.valid.any(1 - axis).nonzero()[:, 0]
            left = slice(int(valid[0]), int(valid[-1]) + 1)
        slices.append(left)
    return slices[0], slices[1]

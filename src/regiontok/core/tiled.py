"""The canvas of an image's tiles: how the image lies on it, on each part of it, and on what
unpadding leaves.

After: LLaVA-NeXT (`resize_and_pad_image`, `unpad_image`, as in LLaVA's code and in transformers).
Differs: where LLaVA's unpadding would leave nothing (of a strip thinner than a patch), the patches
that see the image stay.
"""

from __future__ import annotations

from math import ceil

from regiontok.core.frame import Frame, Pair
from regiontok.core.tiling import Tiling


def tiled(tiling: Tiling, image: Pair, tile: Pair, patch: Pair) -> Frame:
    """The frame of the best grid's whole canvas: aspect ratio kept, centred, padded."""
    rows, columns = tiling.best(image, tile)
    canvas = rows * tile[0], columns * tile[1]
    scale = min(canvas[0] / image[0], canvas[1] / image[1])
    resized = min(ceil(image[0] * scale), canvas[0]), min(ceil(image[1] * scale), canvas[1])
    offset = (canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2
    return Frame(
        image, (0.0, 0.0, float(image[0]), float(image[1])), resized, offset, canvas, patch
    )


def window(frame: Frame, start: Pair, size: Pair) -> Frame | None:
    """The frame of a part of a frame's canvas, `size` pixels from `start` on; None if it holds
    nothing of the image.

    >>> whole = Frame.letterbox((100, 200), canvas=(56, 56), patch=(14, 14))
    >>> window(whole, (0, 28), (28, 28))
    Frame(image=(100, 200), crop=(0.0, 100.0, 50.0, 200.0), resized=(14, 28), offset=(14, 0),
    canvas=(28, 28), patch=(14, 14))
    """
    low, high, crop = [0, 0], [0, 0], [0.0] * 4
    for axis in (0, 1):
        begin, length = frame.offset[axis], frame.resized[axis]
        low[axis] = max(begin, start[axis])
        high[axis] = min(begin + length, start[axis] + size[axis])
        if low[axis] >= high[axis]:
            return None
        per_pixel = (frame.crop[axis + 2] - frame.crop[axis]) / length
        for end, at in ((axis, low[axis]), (axis + 2, high[axis])):
            whole = end == axis + 2 and at == begin + length  # the end itself, without rounding
            crop[end] = (
                frame.crop[axis + 2] if whole else frame.crop[axis] + (at - begin) * per_pixel
            )
    resized = high[0] - low[0], high[1] - low[1]
    offset = low[0] - start[0], low[1] - start[1]
    return Frame(
        frame.image, (crop[0], crop[1], crop[2], crop[3]), resized, offset, size, frame.patch
    )


def unpadded(frame: Frame) -> tuple[slice, slice]:
    """The rows and columns of patches that LLaVA's `unpad_image` leaves of a whole canvas.

    It reckons in patches and drops the same number at either end, so that up to half a patch of
    image may go on each side.
    """
    (h, w), (high, wide) = frame.grid, frame.image
    cut = [0, 0]
    if wide / high > w / h:
        cut[0] = (h - int(round(high * (w / wide), 7))) // 2
    else:
        cut[1] = (w - int(round(wide * (h / high), 7))) // 2
    left = [slice(each, side - each) for each, side in zip(cut, (h, w), strict=True)]
    seen = (frame.valid.any(1 - axis).nonzero()[:, 0] for axis in (0, 1))
    rows, columns = (
        one if one.start < one.stop else slice(int(at[0]), int(at[-1]) + 1)
        for one, at in zip(left, seen, strict=True)
    )
    return rows, columns

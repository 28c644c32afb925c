"""Tiling: which tiles of an encoder's canvas an image is cut into, and how each of them lies on the image.

After: LLaVA-NeXT's any-resolution grids (`select_best_resolution`, `resize_and_pad_image`, `unpad_image`, as in LLaVA's code and in
transformers); RICE, row R9 (2x2+1).
Differs: grids count tiles, not pixels, so that one spec serves encoders of any canvas. Where LLaVA's unpadding would leave nothing (of a
strip thinner than a patch), the patches that see the image stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from regiontok.core.frame import Frame

if TYPE_CHECKING:
    from regiontok.core.frame import Pair

# LLaVA-NeXT's image_grid_pinpoints, in tiles of 336 pixels, in its order (which decides ties).
ANYRES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
MOST = 12  # tiles along one side


@dataclass(frozen=True)
class Tiling:
    """The grids of tiles that an image may be cut into; the whole image on one canvas, the base view, always comes with them.

    Attributes:
        grids: (rows, columns) of tiles each. Where two fit an image alike the first is taken.

    >>> Tiling.of("2x2+1").grids, len(Tiling.of("anyres").grids), len(Tiling.of("anyres(6)").grids)
    (((2, 2),), 5, 36)
    >>> Tiling.of("anyres").best((336, 672), (336, 336))
    (1, 2)
    """

    grids: tuple[Pair, ...]

    @classmethod
    def of(cls, text: str) -> Tiling:
        """From its spec: "2x2" (or "2x2+1"), several grids "1x2,2x1,2x2", "anyres" (LLaVA-NeXT's five), "anyres(6)" (all up to 6x6).

        Raises:
            ValueError: anything else, or more than 12 tiles along a side.
        """
        bare = text.replace(" ", "").removesuffix("+1")
        if bare == "anyres":
            return cls(ANYRES)
        if found := re.fullmatch(r"anyres\((\d+)\)", bare):
            sides = range(1, min(int(found[1]), MOST + 1) + 1)
            grids = tuple((rows, columns) for rows in sides for columns in sides)
        elif re.fullmatch(r"\d+x\d+(,\d+x\d+)*", bare):
            grids = tuple((int(rows), int(columns)) for rows, _, columns in (one.partition("x") for one in bare.split(",")))
        else:
            raise ValueError(
                f"tiles must be grids of rows x columns ('2x2', '1x2,2x1,2x2'), 'anyres' (LLaVA-NeXT's five) or 'anyres(6)' (all up to "
                f"6x6), not {text!r}"
            )
        if not grids or min(map(min, grids)) < 1 or max(map(max, grids)) > MOST:
            raise ValueError(f"tiles must be 1 to {MOST} along a side, got {text!r}")
        return cls(grids)

    def best(self, image: Pair, tile: Pair) -> Pair:
        """(rows, columns) of the grid that shows most of the image's pixels, and among those wastes least."""
        scores = []
        for rows, columns in self.grids:
            high, wide = rows * tile[0], columns * tile[1]
            scale = min(wide / image[1], high / image[0])
            shown = min(int(image[1] * scale) * int(image[0] * scale), image[0] * image[1])
            scores.append((shown, shown - high * wide))
        return self.grids[scores.index(max(scores))]

    def frame(self, image: Pair, tile: Pair, patch: Pair) -> Frame:
        """The frame of the best grid's whole canvas: aspect ratio kept, centred, padded."""
        rows, columns = self.best(image, tile)
        canvas = rows * tile[0], columns * tile[1]
        down, across = canvas[0] / image[0], canvas[1] / image[1]
        if across < down:
            resized = min(ceil(image[0] * across), canvas[0]), canvas[1]
        else:
            resized = canvas[0], min(ceil(image[1] * down), canvas[1])
        offset = (canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2
        return Frame(image, (0.0, 0.0, float(image[0]), float(image[1])), resized, offset, canvas, patch)


def window(frame: Frame, start: Pair, size: Pair) -> Frame | None:
    """The frame of a part of a frame's canvas, `size` pixels from `start` on; None if it holds nothing of the image.

    >>> whole = Frame.letterbox((100, 200), canvas=(56, 56), patch=(14, 14))
    >>> window(whole, (0, 28), (28, 28))
    Frame(image=(100, 200), crop=(0.0, 100.0, 50.0, 200.0), resized=(14, 28), offset=(14, 0), canvas=(28, 28), patch=(14, 14))
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
            crop[end] = frame.crop[axis + 2] if whole else frame.crop[axis] + (at - begin) * per_pixel
    resized = high[0] - low[0], high[1] - low[1]
    offset = low[0] - start[0], low[1] - start[1]
    return Frame(frame.image, (crop[0], crop[1], crop[2], crop[3]), resized, offset, size, frame.patch)


def unpadded(frame: Frame) -> tuple[slice, slice]:
    """The rows and columns of patches that LLaVA's `unpad_image` leaves of a whole canvas.

    It reckons in patches and drops the same number at either end, so that up to half a patch of image may go on each side.
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
        one if one.start < one.stop else slice(int(at[0]), int(at[-1]) + 1) for one, at in zip(left, seen, strict=True)
    )
    return rows, columns

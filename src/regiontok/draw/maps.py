"""Values of patches as colours on their photo: PCA, norms with a scale, regions with borders.

Every patch is one flat block over the pixels that it sees, at the drawing's own resolution: nothing
is interpolated between patches, so that a single odd patch shows as one. Where no patch sees the
photo, the photo is greyed; padding is not part of the photo and does not show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw._palette import colours, neighbours
from regiontok.draw.regions import members_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

# Every sixteenth colour of matplotlib's viridis (CC0): as light as the number is large, also in
# grey and without colour vision.
VIRIDIS = np.array(
    [
        [68, 1, 84], [72, 24, 106], [71, 45, 123], [66, 64, 134], [59, 82, 139], [51, 99, 141],
        [44, 114, 142], [38, 130, 142], [33, 145, 140], [31, 160, 136], [40, 174, 128],
        [63, 188, 115], [94, 201, 98], [132, 212, 75], [173, 220, 48], [216, 226, 25],
        [253, 231, 37],
    ],
    np.uint8,
)  # fmt: skip
# A range narrower than this share of its numbers is rounding: all of it gets the middle colour.
FLAT = 1e-3
WIDENED = 0.05  # such a range is widened by this share of its numbers on both sides
TINT = 0.6  # opacity of a region's colour over the photo in grey
Line = tuple[float, float, float, float]  # (x0, y0, x1, y1)


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` as colours from dark blue to yellow.

    A number beyond takes the colour of the end.

    Attributes:
        low: the number with the darkest colour.
        high: the number with the lightest colour.
        label: the text below the scale: what the numbers are.

    Raises:
        ValueError: If the ends are not finite, or not in order.

    >>> Scale(0, 10).colours(np.array([0.0, 10.0, 99.0])).tolist()
    [[68, 1, 84], [253, 231, 37], [253, 231, 37]]
    """

    low: float
    high: float
    label: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"a scale needs two finite ends in order, got {self.low} and {self.high}"
            )

    @classmethod
    def of(cls, fields: Iterable[Float[np.ndarray, "..."]], label: str = "") -> Scale:
        """The scale from the smallest to the largest finite number of all fields.

        It is widened where they are all the same.

        Raises:
            ValueError: If there is no finite number.

        >>> Scale.of([np.array([3.0, np.nan]), np.array([[1.0, 2.0]])])
        Scale(low=1.0, high=3.0, label='')
        >>> Scale.of([np.full(4, 20.0)])
        Scale(low=19.0, high=21.0, label='')
        """
        flat = [np.ravel(field).astype(np.float64) for field in fields]
        numbers = np.concatenate(flat) if flat else np.zeros(0)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            raise ValueError(
                "expected at least one finite number to make a colour scale of, got none"
            )
        lowest, highest = float(numbers.min()), float(numbers.max())
        largest = max(abs(lowest), abs(highest))
        if highest - lowest <= FLAT * largest or lowest == highest:
            middle, spread = (lowest + highest) / 2, WIDENED * largest or 1.0
            lowest, highest = middle - spread, middle + spread
        return cls(lowest, highest, label)

    def colours(self, values: Float[np.ndarray, "*rest"]) -> UInt8[np.ndarray, "*rest 3"]:
        """A colour of each number; NaN takes the lowest."""
        share = (np.nan_to_num(values, nan=self.low) - self.low) / (self.high - self.low)
        place = np.clip(share, 0, 1) * (len(VIRIDIS) - 1)
        darker = np.minimum(place.astype(int), len(VIRIDIS) - 2)
        step = VIRIDIS[darker + 1].astype(np.float64) - VIRIDIS[darker]
        mixed = VIRIDIS[darker] + (place - darker)[..., None] * step
        return np.round(mixed).astype(np.uint8)


def draw_colours(
    picture: Picture, frame: Frame, field: UInt8[np.ndarray, "h w 3"], *, longest: int
) -> Image.Image:
    """Each patch as a block of its colour.

    Args:
        picture: the decoded photo.
        frame: how the photo lies under the grid.
        field: the colours, uint8, or floats in [0, 1] with NaN for black.
        longest: pixels along the longer side.

    Raises:
        ValueError: If the field lies on another grid, or the picture's size is not the frame's.

    >>> photo = Picture.of(np.zeros((20, 30, 3), np.uint8))
    >>> frame = Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> draw_colours(photo, frame, np.ones((2, 2, 3)), longest=60).getpixel((59, 39))
    (255, 255, 255)
    """
    field = np.asarray(field)
    if field.shape != (*frame.grid, 3):
        raise ValueError(
            f"expected a colour of each patch {[*frame.grid, 3]}, got shape {list(field.shape)}"
        )
    if field.dtype != np.uint8:
        field = np.round(np.clip(np.nan_to_num(field), 0, 1) * 255).astype(np.uint8)
    photo, patch = laid_out(picture, frame, longest)
    pixels = field.reshape(-1, 3)[patch]
    pixels[patch < 0] = _faded(photo[patch < 0])
    return Image.fromarray(pixels)


def draw_scalar(
    picture: Picture, frame: Frame, field: Float[np.ndarray, "h w"], scale: Scale, *, longest: int
) -> Image.Image:
    """Each patch as a block in the colour of its number."""
    colour_field = scale.colours(np.asarray(field, np.float64))
    return draw_colours(picture, frame, colour_field, longest=longest)


def draw_tints(picture: Picture, frame: Frame, regions: Regions, *, longest: int) -> Image.Image:
    """The photo in grey under the colours of its regions, without borders; see `borders`.

    Regions that touch differ in hue; where regions overlap the smallest shows; patches in none are
    dark.
    """
    members = members_of(regions)
    hues = colours(regions.sizes.cpu().numpy(), neighbours(members))
    hues = np.append(hues, [[0, 0, 0]], axis=0)  # member -1, no region, reads the last
    photo, patch = laid_out(picture, frame, longest)
    tint = hues[members[..., 0]].reshape(-1, 3)[patch]
    pixels = np.round(TINT * tint + (1 - TINT) * _grey(photo)[..., None]).astype(np.uint8)
    pixels[patch < 0] = _faded(photo[patch < 0])
    return Image.fromarray(pixels)


def borders(frame: Frame, regions: Regions) -> list[Line]:
    """Where regions meet: straight lines in shares of the photo's width and height.

    Lines run between two patches and are as long as they can be; none goes around the whole.

    >>> halves = Regions.from_labels(torch.tensor([[0, 1], [0, 1]]))
    >>> borders(Frame.stretch((20, 40), (4, 4), (2, 2)), halves)
    [(0.5, 0.0, 0.5, 1.0)]
    """
    top = members_of(regions)[..., 0]
    upright = [(i, lo, i, hi) for i, lo, hi in _runs((top[:, 1:] != top[:, :-1]).T)]
    level = [(lo, i, hi, i) for i, lo, hi in _runs(top[1:] != top[:-1])]
    if not upright + level:
        return []
    height, width = frame.image
    boxes = frame.boxes_to_pixels(torch.tensor(upright + level, dtype=torch.float64))
    lines = boxes.double().numpy() / [width, height, width, height]
    lengths = (lines[:, 2] - lines[:, 0]) + (lines[:, 3] - lines[:, 1])
    lines = lines[lengths > 1e-6]  # a line on padding has no length in the photo
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in lines.tolist()]


def _runs(change: Int[np.ndarray, "edges cells"]) -> list[tuple[int, int, int]]:
    """(line, first, end) of each unbroken run of True; line i lies behind cell i - 1."""
    padded = np.pad(change.astype(np.int8), ((0, 0), (1, 1)))
    line, turn = np.diff(padded, axis=1).nonzero()
    return [
        (int(i) + 1, int(first), int(end))
        for i, first, end in zip(line[::2], turn[::2], turn[1::2], strict=True)
    ]


def laid_out(
    picture: Picture, frame: Frame, longest: int
) -> tuple[UInt8[np.ndarray, "H W 3"], Int[np.ndarray, "H W"]]:
    """The photo at the drawing's size, and the patch that sees each of its pixels, -1 for none.

    Raises:
        ValueError: If the picture's size is not the frame's, or `longest` is below 1.
    """
    if picture.size != tuple(frame.image):
        raise ValueError(
            f"the frame is of an image {frame.image}, the picture {picture.name} has size "
            f"{picture.size}"
        )
    if longest < 1:
        raise ValueError(f"expected at least 1 pixel along the longer side, got longest={longest}")
    height, width = picture.size
    size = (
        max(1, round(height * longest / max(height, width))),
        max(1, round(width * longest / max(height, width))),
    )
    photo = picture.resized(size, (0, 0, height, width), "bicubic")
    y0, x0, y1, x1 = frame.crop
    down, right = size[0] / height, size[1] / width
    scaled = replace(frame, image=size, crop=(y0 * down, x0 * right, y1 * down, x1 * right))
    h, w = frame.grid
    return photo, scaled.to_pixels(torch.arange(h * w).view(h, w)).numpy()


def _grey(photo: UInt8[np.ndarray, "*rest 3"]) -> Float[np.ndarray, "*rest"]:
    return photo @ np.array([0.299, 0.587, 0.114])


def _faded(photo: UInt8[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Light grey with a quarter of the photo's contrast: pixels that no patch sees."""
    tones = np.round(226 + 0.25 * (_grey(photo) - 226)).astype(np.uint8)
    return np.repeat(tones[:, None], 3, axis=1)

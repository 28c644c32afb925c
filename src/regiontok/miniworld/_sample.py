"""How a scene is drawn by lot: its background, the places of its objects, and their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from regiontok.miniworld import _raster
from regiontok.miniworld.words import BACKGROUNDS, COLOURS, PALETTE, SHAPES, SIZES, TEXTURES

MIN_PIXELS = 32  # visible pixels of every object at least
TRIES = 24  # positions of one object before it goes down a size
# Arrangements before the settings are called impossible; the second half of them has small objects
# only.
RESTARTS = 16

# Radius of the disc of equal area, as a share of the picture's shorter side: smallest and largest
# of each size. The gaps between the bands keep the three words apart.
_RADII = {"small": (0.065, 0.075), "medium": (0.100, 0.115), "large": (0.155, 0.180)}
# Area of the unit shape, and how far its farthest point is from the centroid.
_UNIT = {
    "circle": (math.pi, 1.0),
    "square": (4.0, 1.4143),
    "triangle": (1.299038, 1.0),
    "star": (1.322517, 1.0),
    "cross": (2.3616, 1.0629),
    "ring": (2.356194, 1.0),
    "heart": (0.892699, 0.657),
    "crescent": (1.450758, 1.2864),
}
# Degrees that a shape is turned at most, either way; others are turned by any angle. Turned by 45
# degrees these would be called diamond and X.
_SWING = {"square": 20, "cross": 20}
# Cosine and sine of whole degrees, rounded to 2^-20: the last bits of a C library's sine differ
# between machines.
_TURNS = tuple(
    tuple(round(function(math.radians(angle)) * 2**20) / 2**20 for function in (math.cos, math.sin))
    for angle in range(360)
)


class Look(NamedTuple):
    """What an object looks like, before it has its place.

    Attributes:
        shape: a word of `SHAPES`.
        colour: a word of `COLOURS`.
        texture: a word of `TEXTURES`.
        turn: its rotation, in [0, 1) of what its shape may be turned.
        stretch: its radius, in [0, 1) from the smallest to the largest of its size.
        phase: (y, x) of the centroid within its pixel.
    """

    shape: str
    colour: str
    texture: str
    turn: float
    stretch: float
    phase: tuple[float, float]


class Placed(NamedTuple):
    """An object that has its place.

    Attributes:
        shape: a word of `SHAPES`.
        colour: a word of `COLOURS`.
        size: a word of `SIZES`.
        texture: a word of `TEXTURES`.
        radius: radius in pixels of the disc of equal area.
        rotation: rotation in whole degrees.
        phase: (y, x) of the centroid within its pixel.
        corner: (top, left) of its signed distances in the picture.
        distance: `[side side]` signed distances in pixels.
        area: pixels of the whole shape.
    """

    shape: str
    colour: str
    size: str
    texture: str
    radius: float
    rotation: int
    phase: tuple[float, float]
    corner: tuple[int, int]
    distance: np.ndarray
    area: int

    @property
    def centre(self) -> tuple[float, float]:
        """(y, x) of the centroid in pixels of the picture."""
        half = self.distance.shape[0] // 2
        return self.corner[0] + half + self.phase[0], self.corner[1] + half + self.phase[1]


@dataclass(frozen=True, eq=False)
class Canvas:
    """The canvas that objects are placed on.

    Attributes:
        labels: `[H W]` label of the front-most object of each pixel, 0 for the background.
        visible: visible pixels of each label.
        needed: visible pixels that each label must keep.
    """

    labels: np.ndarray
    visible: np.ndarray
    needed: np.ndarray


def background(rng: np.random.Generator, height: int, width: int) -> tuple[str, np.ndarray]:
    """The word for a background, and its pixels `[H W 3]`."""
    return background_of(rng.random(12), height, width)


def background_of(u: np.ndarray, height: int, width: int) -> tuple[str, np.ndarray]:
    """The background of twelve numbers in [0, 1): its word, and its pixels `[H W 3]`.

    Its two tones are close and dull: named colours are saturated and stand out from any grey.
    """
    word = _pick(BACKGROUNDS, u[0])
    first = 45.0 + 160.0 * u[1] + 16.0 * (u[2:5] - 0.5)
    step = (22.0 + 12.0 * u[5]) * (1.0 if u[1] < 0.5 else -1.0)
    tones = np.stack([first, first + step + 12.0 * (u[6:9] - 0.5)])
    pixels = np.empty((height, width, 3), np.uint8)
    period = min(height, width) * (0.12 + 0.12 * float(u[9]))
    _raster.paint_background(
        pixels, BACKGROUNDS.index(word), tones, _TURNS[int(u[10] * 360)], period, int(u[11] * 2**31)
    )
    return word, pixels


def arrange(
    rng: np.random.Generator, height: int, width: int, objects: tuple[int, int], min_visible: float
) -> tuple[list[Placed], Canvas]:
    """Place objects, from back to front.

    There are as many as drawn or, if that finds no room, as many as fit, but never fewer than
    `objects[0]`.

    Args:
        rng: the source of all draws.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        objects: fewest and most objects.
        min_visible: share of its area that every object shows at least.

    Raises:
        ValueError: If not even `objects[0]` fit.
    """
    fewest, most = objects
    count = fewest + int(rng.random() * (most - fewest + 1))
    for attempt in range(RESTARTS):
        sizes = SIZES if attempt < RESTARTS // 2 else SIZES[:1]
        canvas = Canvas(
            np.zeros((height, width), np.int16),
            np.zeros(count + 1, np.int64),
            np.zeros(count + 1, np.int64),
        )
        placed: list[Placed] = []
        for _ in range(count):
            item = _place_object(rng, canvas, len(placed) + 1, sizes, min_visible)
            if item is not None:
                placed.append(item)
        if len(placed) >= fewest:
            return placed, canvas
    raise ValueError(
        f"{fewest} objects with min_visible={min_visible} found no room in {height}x{width} pixels "
        f"in {RESTARTS} arrangements; lower the fewest objects or min_visible"
    )


def _place_object(
    rng: np.random.Generator, canvas: Canvas, label: int, sizes: tuple[str, ...], min_visible: float
) -> Placed | None:
    """Draw an object and a place that leaves all earlier ones visible enough.

    It has the drawn size, or the next smaller one that fits; None if none fits.
    """
    u = rng.random(8).tolist()
    look = Look(
        shape=_pick(SHAPES, u[0]),
        colour=_pick(COLOURS, u[1]),
        texture=_pick(TEXTURES, u[2]),
        turn=u[3],
        stretch=u[5],
        phase=(u[6], u[7]),
    )
    for size in reversed(sizes[: 1 + int(u[4] * len(sizes))]):
        item = place_look(rng, canvas, label, look, size, min_visible)
        if item is not None:
            return item
    return None


def place_look(
    rng: np.random.Generator,
    canvas: Canvas,
    label: int,
    look: Look,
    size: str,
    min_visible: float,
) -> Placed | None:
    """Give an object of a size a place that leaves all earlier ones visible enough.

    None if none of `TRIES` places does.
    """
    height, width = canvas.labels.shape
    swing = _SWING.get(look.shape)
    turn = look.turn
    rotation = int(turn * 360) if swing is None else (int(turn * (2 * swing + 1)) - swing) % 360
    unit_area, unit_reach = _UNIT[look.shape]
    smallest, largest = _RADII[size]
    radius = min(height, width) * (smallest + (largest - smallest) * look.stretch)
    scale = radius * math.sqrt(math.pi / unit_area)
    half = math.ceil(unit_reach * scale + 1.0)
    distance, area = _raster.distance_patch(
        SHAPES.index(look.shape), scale, half, *look.phase, *_TURNS[rotation]
    )
    canvas.needed[label] = max(math.ceil(min_visible * area), MIN_PIXELS)
    corners = (rng.random((TRIES, 2)) * (height - 2 * half, width - 2 * half)).astype(np.int64)
    number = _raster.place(distance, corners, canvas.labels, canvas.visible, canvas.needed, label)
    if number < 0:
        return None
    top, left = corners[number].tolist()
    return Placed(
        shape=look.shape,
        colour=look.colour,
        size=size,
        texture=look.texture,
        radius=radius,
        rotation=rotation,
        phase=look.phase,
        corner=(top, left),
        distance=distance,
        area=area,
    )


def paint(rng: np.random.Generator, pixels: np.ndarray, item: Placed) -> None:
    """Paint one placed object over `pixels` `[H W 3]`, in two tones of its colour."""
    paint_with(rng.random(6).tolist(), pixels, item)


def paint_with(u: Sequence[float], pixels: np.ndarray, item: Placed) -> None:
    """Paint one placed object over `pixels` `[H W 3]`, by six numbers in [0, 1)."""
    channels = zip(PALETTE[item.colour], u[:3], strict=True)
    base = [value + 20.0 * (jitter - 0.5) for value, jitter in channels]
    luma = 0.299 * base[0] + 0.587 * base[1] + 0.114 * base[2]
    scale, lift = (0.45, 0.0) if luma > 128.0 else (0.4, 0.6 * 255.0)
    second = [scale * value + lift for value in base]
    shorter = min(pixels.shape[:2])
    # One term grows with the object, so that textures keep their scale; one does not, so that they
    # still show on small objects.
    period = (0.9 + 0.2 * u[3]) * (0.03 * shorter + 0.22 * item.radius)
    _raster.paint(
        pixels,
        item.distance,
        item.corner,
        item.phase,
        _TURNS[item.rotation],
        TEXTURES.index(item.texture),
        period,
        int(u[4] * 2**31),
        np.array([base, second]),
        0.04 + 0.06 * u[5],
        0.006 * shorter,
    )


def _pick(words: tuple[str, ...], u: float) -> str:
    return words[int(u * len(words))]

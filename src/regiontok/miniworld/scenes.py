"""Seeded pictures of a few shapes with exact pixel masks and a list of what they show.

After: nothing published; our own generator, in the spirit of CLEVR (Johnson et al. 2017, arXiv:1612.06890) without its renderer.
Differs: nothing known.

A scene is a function of (seed, size, settings) and of `SCENES_VERSION` alone, to the byte. Objects are drawn from back to front by their signed
distance: pixels have smoothed edges, labels are exact (distance <= 0 at the pixel's centre, of the front-most object).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from regiontok.miniworld import _raster

SCENES_VERSION = 1  # raise it with every change of a single byte: recorded scores and trained models name it

PALETTE = {
    "red": (214, 40, 40),
    "orange": (245, 130, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "cyan": (60, 205, 230),
    "blue": (40, 80, 215),
    "purple": (125, 45, 165),
    "pink": (245, 130, 190),
}
# The order of shapes, textures and backgrounds is the numbering inside `_raster`.
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = tuple(PALETTE)
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered", "speckled")
BACKGROUNDS = ("plain", "gradient", "stripes", "noise")

SIDES = (64, 2048)  # below 64 a small shape has under 50 pixels and is a blob
MAX_OBJECTS = 16
MIN_PIXELS = 32  # of every object, visible
TRIES = 24  # positions for one object before it goes down a size
RESTARTS = 16  # arrangements before the settings are called impossible

# Radius of the disc of equal area, as a share of the picture's shorter side. The gaps between the bands keep the three words apart.
_RADII = {"small": (0.065, 0.075), "medium": (0.100, 0.115), "large": (0.155, 0.180)}
# Area of the unit shape and its farthest point from the centroid.
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
_UPRIGHT = {"square": 20, "cross": 20}  # degrees either way: at 45 they would be called diamond and X
# Cosine and sine of whole degrees, rounded to 2^-20: the last bits of a C library's sine differ between machines.
_TURNS = tuple(
    (round(math.cos(math.radians(a)) * 2**20) / 2**20, round(math.sin(math.radians(a)) * 2**20) / 2**20)
    for a in range(360)
)


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One shape of a scene.

    Attributes:
        shape, colour, size, texture: words of `SHAPES`, `COLOURS`, `SIZES`, `TEXTURES`.
        centre: (y, x) of the whole shape's centroid in pixels; pixel (i, j) has its centre at (i + 0.5, j + 0.5).
        radius: of the disc with the whole shape's area, in pixels: one size word means one area, whatever the shape.
        rotation: clockwise, in whole degrees from upright, 0 to 359.
        depth: 0 is the front-most object.
        box: xyxy of the visible pixels, the ends exclusive.
        area: pixels of the whole shape, hidden ones included.
        visible: pixels of it that can be seen.
    """

    shape: str
    colour: str
    size: str
    texture: str
    centre: tuple[float, float]
    radius: float
    rotation: int
    depth: int
    box: tuple[int, int, int, int]
    area: int
    visible: int

    @property
    def visible_share(self) -> float:
        """Visible pixels over all pixels of the shape, in (0, 1]."""
        return self.visible / self.area


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of the generated world and the truth about it.

    Attributes:
        pixels: `[H W 3]` uint8, read-only.
        labels: `[H W]` int16, read-only: 0 is background, i + 1 the visible pixels of `objects[i]`.
        objects: from back to front.
        background: a word of `BACKGROUNDS`.
        seed: what it was made from.
    """

    pixels: np.ndarray
    labels: np.ndarray
    objects: tuple[SceneObject, ...]
    background: str
    seed: int

    @cached_property
    def masks(self) -> np.ndarray:
        """Visible pixels of every object, `[k H W]` bool: disjoint, none empty."""
        return self.labels == np.arange(1, len(self.objects) + 1, dtype=np.int16)[:, None, None]


class _Placed(NamedTuple):
    """An object that has its place: the words, the geometry, and its patch of signed distances."""

    words: tuple[str, str, str, str]
    radius: float
    rotation: int
    phase: tuple[float, float]
    distance: np.ndarray
    area: int
    top: int
    left: int

    @property
    def half(self) -> int:
        return self.distance.shape[0] // 2


def make_scene(
    seed: int, size: int | tuple[int, int] = 192, objects: tuple[int, int] = (2, 8), *, min_visible: float = 0.35
) -> Scene:
    """The scene of one seed.

    Args:
        seed: any integer >= 0.
        size: (H, W) or one side of a square, 64 to 2048 pixels.
        objects: fewest and most objects, 1 to 16; every count is equally likely.
        min_visible: share of its own area every object shows at least, in (0, 1]; 1 forbids occlusion. Nor does any object show under
            `MIN_PIXELS` pixels.

    Where an object of the drawn size finds no place, it becomes smaller; a crowded scene therefore has more small objects.

    Raises:
        TypeError: a seed, side or count that is not an integer.
        ValueError: one out of range, or settings under which the fewest objects do not fit.

    >>> scene = make_scene(7, size=(96, 128), objects=(3, 3))
    >>> scene.pixels.shape, scene.labels.max()
    ((96, 128, 3), np.int16(3))
    >>> len(scene.masks) == len(scene.objects)
    True
    """
    seed = _integer("seed", seed)
    if seed < 0:
        raise ValueError(f"expected a seed >= 0, got {seed}")
    height, width = _sides(size)
    low, high = _counts(objects)
    if not 0.0 < min_visible <= 1.0:
        raise ValueError(f"expected min_visible in (0, 1], got {min_visible}")
    # Only `random()` is drawn from: 53 bits of PCG64's stream, the one thing that did not change between numpy versions.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([SCENES_VERSION, seed])))
    background, pixels = _background(rng, height, width)
    count = low + int(rng.random() * (high - low + 1))
    for _ in range(RESTARTS):
        labels, visible, placed = _arrange(rng, height, width, count, min_visible)
        if len(placed) >= low:
            break
    else:
        raise ValueError(
            f"{low} objects with min_visible={min_visible} found no place in {height}x{width} pixels after {RESTARTS} arrangements: "
            f"lower the number of objects or min_visible"
        )
    for item in placed:
        _paint(rng, pixels, item)
    found = _objects(placed, labels, visible)
    pixels.flags.writeable = labels.flags.writeable = False
    return Scene(pixels, labels, found, background, seed)


def scenes(
    start: int, count: int, size: int | tuple[int, int] = 192, objects: tuple[int, int] = (2, 8), *, min_visible: float = 0.35
) -> Iterator[Scene]:
    """The scenes of the seeds start, start + 1, ... start + count - 1, one after the other; settings and errors as `make_scene`.

    >>> [scene.seed for scene in scenes(5, 3, size=64)]
    [5, 6, 7]
    """
    for seed in range(start, start + count):
        yield make_scene(seed, size, objects, min_visible=min_visible)


def _integer(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"expected {name} to be an integer, got {value!r}") from None


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"expected size as one side or (height, width), got {size!r}")
    height, width = (_integer("size", side) for side in sides)
    if not (SIDES[0] <= min(height, width) and max(height, width) <= SIDES[1]):
        raise ValueError(f"expected sides of {SIDES[0]} to {SIDES[1]} pixels, got {height}x{width}")
    return height, width


def _counts(objects: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(objects, tuple | list) or len(objects) != 2:
        raise ValueError(f"expected objects as (fewest, most), got {objects!r}")
    low, high = (_integer("objects", n) for n in objects)
    if not 1 <= low <= high <= MAX_OBJECTS:
        raise ValueError(f"expected objects (fewest, most) with 1 <= fewest <= most <= {MAX_OBJECTS}, got {objects!r}")
    return low, high


def _pick(words: tuple[str, ...], u: float) -> str:
    return words[int(u * len(words))]


def _background(rng: np.random.Generator, height: int, width: int) -> tuple[str, np.ndarray]:
    """Two close, dull tones: every named colour is saturated, so it stands out from any grey, dark or light."""
    u = rng.random(16)
    background = _pick(BACKGROUNDS, u[0])
    grey = 45.0 + 160.0 * u[1] + 24.0 * (u[2:5] - 0.5)
    step = (22.0 + 12.0 * u[5]) * (1.0 if u[1] < 0.5 else -1.0)
    tones = np.stack([grey, grey + step + 12.0 * (u[6:9] - 0.5)])
    pixels = np.empty((height, width, 3), np.uint8)
    period = min(height, width) * (0.12 + 0.12 * u[9])
    salt = int(u[10] * 2**31)
    _raster.paint_background(pixels, BACKGROUNDS.index(background), tones, _TURNS[int(u[11] * 360)], period, salt)
    return background, pixels


def _arrange(
    rng: np.random.Generator, height: int, width: int, count: int, min_visible: float
) -> tuple[np.ndarray, np.ndarray, list[_Placed]]:
    """Up to `count` objects from back to front, with the labels `[H W]` and visible pixels `[count + 1]` they leave."""
    labels = np.zeros((height, width), np.int16)
    visible, needed = np.zeros((2, count + 1), np.int64)
    placed: list[_Placed] = []
    for _ in range(count):
        u = rng.random(8).tolist()
        shape, colour, texture = _pick(SHAPES, u[0]), _pick(COLOURS, u[1]), _pick(TEXTURES, u[2])
        swing = _UPRIGHT.get(shape)
        rotation = int(u[3] * 360) if swing is None else (int(u[3] * (2 * swing + 1)) - swing) % 360
        for size in reversed(SIZES[: 1 + int(u[4] * len(SIZES))]):
            low, high = _RADII[size]
            radius = min(height, width) * (low + (high - low) * u[5])
            area, reach = _UNIT[shape]
            scale = radius * math.sqrt(math.pi / area)
            half = math.ceil(reach * scale + 1.0)
            turn = _TURNS[rotation]
            distance, full = _raster.distance_patch(SHAPES.index(shape), scale, half, u[6], u[7], *turn)
            side = 2 * half + 1
            corners = (rng.random((TRIES, 2)) * (height - side + 1, width - side + 1)).astype(np.int64)
            label = len(placed) + 1
            needed[label] = max(math.ceil(min_visible * full), MIN_PIXELS)
            at = _raster.place(distance, corners, labels, visible, needed, label)
            if at >= 0:
                top, left = corners[at].tolist()
                words = (shape, colour, size, texture)
                placed.append(_Placed(words, radius, rotation, (u[6], u[7]), distance, full, top, left))
                break
    return labels, visible, placed


def _paint(rng: np.random.Generator, pixels: np.ndarray, item: _Placed) -> None:
    _, colour, _, texture = item.words
    u = rng.random(8)
    shorter = min(pixels.shape[:2])
    base = np.array(PALETTE[colour]) + 20.0 * (u[:3] - 0.5)
    luma = 0.299 * base[0] + 0.587 * base[1] + 0.114 * base[2]
    second = 0.45 * base if luma > 128 else 0.4 * base + 0.6 * 255.0
    # A part that grows with the object, so that textures keep their scale, and a part that does not, so that small ones still show.
    period = (0.9 + 0.2 * u[3]) * (0.03 * shorter + 0.22 * item.radius)
    _raster.paint(
        pixels, item.distance, item.top, item.left, item.half, item.phase, _TURNS[item.rotation], TEXTURES.index(texture),
        period, int(u[4] * 2**31), np.stack([base, second]), 0.04 + 0.06 * u[5], 0.006 * shorter,
    )  # fmt: skip


def _objects(placed: list[_Placed], labels: np.ndarray, visible: np.ndarray) -> tuple[SceneObject, ...]:
    boxes = _raster.boxes_of(labels, len(placed)).tolist()
    return tuple(
        SceneObject(
            *item.words,
            centre=(item.top + item.half + item.phase[0], item.left + item.half + item.phase[1]),
            radius=item.radius,
            rotation=item.rotation,
            depth=len(placed) - 1 - i,
            box=tuple(boxes[i]),
            area=item.area,
            visible=int(visible[i + 1]),
        )
        for i, item in enumerate(placed)
    )

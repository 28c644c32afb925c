"""Seeded pictures of a few shapes with exact pixel masks and a list of what they show.

After: nothing published; our own generator, in the spirit of CLEVR (Johnson et al. 2017,
arXiv:1612.06890) without its renderer.
Differs: nothing known.

A scene is a function of (seed, size, settings) and `SCENES_VERSION`, to the byte. Objects are drawn
from back to front by their signed distance: the pixels have smoothed edges, the labels are exact
(distance <= 0 at the pixel's centre, front-most object).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from regiontok.core.sizes import ShownBySizes
from regiontok.miniworld import _raster, _sample

# Raise it with every change of a single byte: recorded scores and trained models name it.
SCENES_VERSION = 1
SIDES = (64, 2048)  # below 64 a small shape has under 50 pixels and is a blob
MAX_OBJECTS = 16


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One shape of a scene.

    Attributes:
        shape: a word of `SHAPES` in `miniworld/words.py`.
        colour: a word of `COLOURS`.
        size: a word of `SIZES`.
        texture: a word of `TEXTURES`.
        centre: (y, x) of the whole shape's centroid in pixels; pixel (i, j) has its centre at (i +
            0.5, j + 0.5).
        radius: radius in pixels of the disc with the whole shape's area: one size word means one
            area, whatever the shape.
        rotation: clockwise rotation in whole degrees from upright, 0 to 359.
        depth: 0 for the front-most object, 1 for the next one behind it, and so on.
        box: xyxy of the visible pixels, the ends exclusive.
        area: number of pixels of the whole shape, hidden ones included.
        visible: number of its pixels that can be seen.
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


@dataclass(frozen=True, eq=False, repr=False)
class Scene(ShownBySizes):
    """A picture of the generated world and the truth about it.

    Attributes:
        pixels: `[H W 3]` uint8, read-only.
        labels: `[H W]` int16, read-only: 0 is background, i + 1 the visible pixels of `objects[i]`.
        objects: the objects, from back to front.
        background: a word of `BACKGROUNDS` in `miniworld/words.py`.
        seed: the seed of the scene.
    """

    pixels: np.ndarray
    labels: np.ndarray
    objects: tuple[SceneObject, ...]
    background: str
    seed: int

    @cached_property
    def masks(self) -> np.ndarray:
        """Visible pixels of every object, `[k H W]` bool, read-only: disjoint, none empty."""
        numbers = np.arange(1, len(self.objects) + 1, dtype=np.int16)
        masks: np.ndarray = self.labels == numbers[:, None, None]
        masks.flags.writeable = False
        return masks


def make_scene(
    seed: int,
    size: int | tuple[int, int] = 192,
    objects: tuple[int, int] = (2, 8),
    *,
    min_visible: float = 0.35,
) -> Scene:
    """The scene of one seed.

    An object of the drawn size that finds no place becomes smaller, and if that does not help it is
    left out, though never below the fewest. With the plain settings this is rare: scenes of 8
    objects hold as many large ones as scenes of 2.

    Args:
        seed: any integer >= 0.
        size: (H, W) or one side of a square, 64 to 2048 pixels.
        objects: fewest and most objects, 1 to 16; every count is drawn equally often.
        min_visible: share of its area that every object shows at least, in (0, 1]; 1 forbids
            occlusion. No object shows fewer than 32 pixels either.

    Raises:
        TypeError: If a seed, side or count is not an integer.
        ValueError: If one is out of range, or the fewest objects do not fit.

    >>> scene = make_scene(7, size=(96, 128), objects=(3, 3))
    >>> scene.pixels.shape, int(scene.labels.max())
    ((96, 128, 3), 3)
    >>> len(scene.masks) == len(scene.objects)
    True
    """
    seed = _integer("seed", seed)
    if seed < 0:
        raise ValueError(f"expected a seed >= 0, got {seed}")
    height, width = _sides(size)
    counts = _counts(objects)
    if not 0.0 < min_visible <= 1.0:
        raise ValueError(f"expected min_visible in (0, 1], got {min_visible}")
    # Only `random()` is ever called, 53 bits of PCG64's stream as they are: what integers() or
    # choice() make of it may change (NEP 19).
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([SCENES_VERSION, seed])))
    background, pixels = _sample.background(rng, height, width)
    placed, canvas = _sample.arrange(rng, height, width, counts, min_visible)
    for item in placed:
        _sample.paint(rng, pixels, item)
    boxes = _raster.boxes_of(canvas.labels, len(placed))
    pixels.flags.writeable = canvas.labels.flags.writeable = False
    return Scene(
        pixels, canvas.labels, described(placed, boxes, canvas.visible[1:]), background, seed
    )


def scenes(
    start: int,
    count: int,
    size: int | tuple[int, int] = 192,
    objects: tuple[int, int] = (2, 8),
    *,
    min_visible: float = 0.35,
) -> Iterator[Scene]:
    """The scenes of the seeds from `start` to `start + count - 1`, one after the other.

    Settings and errors are those of `make_scene`.

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
    fewest, most = (_integer("objects", count) for count in objects)
    if not 1 <= fewest <= most <= MAX_OBJECTS:
        raise ValueError(
            "expected objects (fewest, most) with "
            f"1 <= fewest <= most <= {MAX_OBJECTS}, got {objects!r}"
        )
    return fewest, most


def described(
    placed: Sequence[_sample.Placed], boxes: np.ndarray, visible: np.ndarray
) -> tuple[SceneObject, ...]:
    """The placed objects, from back to front, as they can be seen.

    Args:
        placed: the objects.
        boxes: `[k 4]` xyxy of their visible pixels.
        visible: `[k]` numbers of their visible pixels.
    """
    return tuple(
        SceneObject(
            shape=item.shape,
            colour=item.colour,
            size=item.size,
            texture=item.texture,
            centre=item.centre,
            radius=item.radius,
            rotation=item.rotation,
            depth=len(placed) - 1 - index,
            box=tuple(box),
            area=item.area,
            visible=int(visible[index]),
        )
        for index, (item, box) in enumerate(zip(placed, boxes.tolist(), strict=True))
    )

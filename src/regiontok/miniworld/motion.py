"""Moving scenes: the objects of a picture in motion, with their boxes and masks in every frame.

Every shape of the world is about as high as wide, and of one size: a box that follows it would
learn that all boxes are square and stay as large as they are. So each object is squeezed along one
axis, and recedes and comes near again.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from regiontok.miniworld._sample import Placed
from regiontok.miniworld.layout import Layout
from regiontok.miniworld.world import World, WorldPicture

FASTEST = 0.03  # of a picture's shorter side, that an object moves from a frame to the next
FLATTEST = 0.4  # of its width, an object's height after it is squeezed, or the other way round
FARTHEST = 0.65  # of its size in the picture, that of an object when it is farthest away
RECEDING = 0.02  # largest change of that share from a frame to the next


@dataclass(frozen=True, eq=False)
class MovingScene:
    """A scene whose objects move in straight lines and turn back at the picture's edges.

    Objects keep their order: a nearer one passes in front of one farther away, and may hide it.

    Attributes:
        name: name of the scene.
        layout: where all stands in the first frame; its objects are whole and near.
        velocity: `[k 2]` (y, x) of each object, in pixels a frame.
        squeeze: `[k 2]` (y, x), height and width of each object by those it has in the layout.
        size: `[k 2]`, size of each object in the first frame by that in the layout, and how much it
            changes a frame; it turns back at 1 and at `FARTHEST`.
    """

    name: str
    layout: Layout
    velocity: np.ndarray
    squeeze: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, world: World, index: int) -> MovingScene:
        """The scene of picture `index` of a world: its background, and its objects squeezed.

        Raises:
            IndexError: If the split has no such picture.
        """
        layout = world.layout(index)
        count = len(layout.items)
        u = world.random(index, "motion").random((count, 2))
        squeeze, size = world.random(index, "form").random((2, count, 2))
        is_high = squeeze[:, :1] < 0.5
        squeeze = np.where(is_high ^ [[False, True]], 1.0, 1 - (1 - FLATTEST) * squeeze[:, 1:])
        first = FARTHEST + (1 - FARTHEST) * size[:, 0]
        return cls(
            world.name_of(index),
            layout,
            (2 * u - 1) * FASTEST * min(layout.size),
            squeeze,
            np.stack([first, (2 * size[:, 1] - 1) * RECEDING], axis=1),
        )

    def frame(self, number: int) -> WorldPicture:
        """The picture of one frame, 0 for the first."""
        items = tuple(self._moved(place, number) for place in range(len(self.layout.items)))
        layout = replace(self.layout, items=items)
        return WorldPicture.of(layout, f"{self.name}-{number:04}")

    def frames(self, count: int) -> Iterator[WorldPicture]:
        """The first frames, one after the other."""
        return map(self.frame, range(count))

    def _moved(self, place: int, number: int) -> Placed:
        """An object as it is in a frame; it is moved by whole pixels."""
        item, (first, change) = self.layout.items[place], self.size[place]
        side = item.distance.shape[0]
        top, left = (
            bounced(start, speed * number, length - side)
            for start, speed, length in zip(
                item.corner, self.velocity[place].tolist(), self.layout.size, strict=True
            )
        )
        size = FARTHEST + turned_back(first - FARTHEST + change * number, 1 - FARTHEST)
        height, width = (self.squeeze[place] * size).tolist()
        distance = squeezed(item.distance, item.phase, height, width)
        return item._replace(
            corner=(top, left),
            distance=distance,
            area=int((distance <= 0).sum()),
            radius=item.radius * math.sqrt(height * width),
        )


def squeezed(
    distance: np.ndarray, phase: tuple[float, float], height: float, width: float
) -> np.ndarray:
    """Signed distances of a shape that is made lower and narrower about its centroid.

    Each is read between four of the old ones and divided by the slope there, which is right to
    first order at the edge, where alone it is used.

    Args:
        distance: `[s s]` signed distances in pixels.
        phase: (y, x) of the centroid within the middle pixel.
        height, width: the new height and width by the old ones, at most 1.

    Returns:
        `[s s]`, the shape's centroid where it was.
    """
    old = distance
    for axis, factor in enumerate((height, width)):
        old = np.moveaxis(_read_at(np.moveaxis(old, axis, 0), phase[axis], factor), 0, axis)
    slope = np.sqrt(sum(part * part for part in np.gradient(old)))
    scaled: np.ndarray = old / slope.clip(1.0, 1.0 / min(height, width))
    return scaled


def _read_at(rows: np.ndarray, phase: float, factor: float) -> np.ndarray:
    """Rows `[s n]` squeezed by a factor about the middle one; beyond the ends they grow by 1."""
    last = len(rows) - 1
    middle = last // 2 + phase - 0.5
    at = (np.arange(last + 1) - middle) / factor + middle
    inside = at.clip(0, last)
    before = np.minimum(inside.astype(np.int64), last - 1)
    share = (inside - before)[:, None]
    between: np.ndarray = (1 - share) * rows[before] + share * rows[before + 1]
    between += np.abs(at - inside)[:, None]
    return between


def bounced(start: int, way: float, last: int) -> int:
    """Where a corner is that has moved, and turned back at 0 and at `last`.

    >>> bounced(2, 3, 10), bounced(2, -4, 10), bounced(2, 11, 10)
    (5, 2, 7)
    """
    if last <= 0:
        return start
    return math.floor(turned_back(start + way, last) + 0.5)


def turned_back(position: float, last: float) -> float:
    """A position that has turned back at 0 and at `last`.

    >>> turned_back(5, 10), turned_back(-2, 10), turned_back(13, 10)
    (5, 2, 7)
    """
    position %= 2 * last
    return min(position, 2 * last - position)

"""A square window of a frame around a box: its pixels, and boxes into it and back.

After: OSTrack (Ye et al. 2022, arXiv:2203.11991), the crops of its data and its tracker: side =
    ceil(factor * sqrt(width * height)), black beyond the frame, bilinear resize.
Differs: coordinates are exact, and mapping back is the inverse of mapping in. The authors count
    from (size - 1) / 2 in training, which shifts a box by half a pixel, and at test leave out that
    the window begins at a whole pixel. Pillow's bilinear filter averages when it makes smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from regiontok.core.picture import Picture


@dataclass(frozen=True)
class Window:
    """A square of whole pixels, which may reach beyond the frame.

    Attributes:
        x, y: the upper left corner, in pixels of the frame.
        side: its length in pixels.
    """

    x: int
    y: int
    side: int

    @classmethod
    def around(cls, box: Float[np.ndarray, "4"], factor: float) -> Window:
        """The window whose area is `factor`^2 times that of a box, about the box's centre.

        >>> Window.around(np.array([10.0, 20.0, 16.0, 4.0]), 2)
        Window(x=10, y=14, side=16)
        """
        x, y, width, height = box.tolist()
        side = max(1, math.ceil(factor * math.sqrt(width * height)))
        return cls(round(x + (width - side) / 2), round(y + (height - side) / 2), side)

    def cut(self, picture: Picture, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The pixels of the window, resized to `size` pixels a side; black beyond the frame."""
        box = (self.x, self.y, self.x + self.side, self.y + self.side)
        square = picture.pil.crop(box)
        return np.array(square.resize((size, size), Image.Resampling.BILINEAR))

    def inward(self, box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """Boxes of the frame in units of the window: (0, 0, 1, 1) is all of it."""
        return (np.asarray(box, float) - self._corner) / self.side

    def outward(self, box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """Boxes in units of the window in pixels of the frame: the inverse of `inward`."""
        return np.asarray(box, float) * self.side + self._corner

    @property
    def _corner(self) -> Float[np.ndarray, "4"]:
        return np.array([self.x, self.y, 0.0, 0.0])


def held_in_frame(
    box: Float[np.ndarray, "4"], size: tuple[int, int], margin: int = 10
) -> Float[np.ndarray, "4"]:
    """A box cut to a frame of `size` = (height, width), at least `margin` pixels wide and high.

    >>> held_in_frame(np.array([-30.0, 5.0, 25.0, 50.0]), (40, 60)).tolist()
    [0.0, 5.0, 10.0, 35.0]
    """
    corners = []
    for start, length, limit in zip(box[:2], box[2:], (size[1], size[0]), strict=True):
        least = min(margin, limit)
        first = min(max(0.0, start), limit - least)
        last = min(max(least, start + length), limit)
        corners.append((first, max(least, last - first)))
    (x, width), (y, height) = corners
    return np.array([x, y, width, height], dtype=np.float64)

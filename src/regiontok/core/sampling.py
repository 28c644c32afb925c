"""Sampling of frames by time: what a reader of a video gives, and which frames of it are taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regiontok.core.picture import ImageSource

TOLERANCE = 1e-3  # seconds by which timestamps may be off: Matroska rounds to that


@dataclass(frozen=True)
class TimedFrame:
    """One whole frame of a video or animation.

    Attributes:
        start: seconds after the first frame when it comes on screen.
        end: seconds after the first frame when it leaves the screen.
        size: (H, W) in pixels, as stored.
        pixels: gives its pixels, upright; call it before the next frame is read.
    """

    start: float
    end: float
    size: tuple[int, int]
    pixels: Callable[[], ImageSource]


def is_sampled(start: float, end: float, fps: float | None) -> bool:
    """True if a frame on screen from `start` to `end` is there at some multiple of 1/fps seconds.

    Without `fps` every frame is sampled.

    >>> [is_sampled(index / 10, (index + 1) / 10, fps=4) for index in range(6)]
    [True, False, True, False, False, True]
    """
    if fps is None:
        return True
    first_multiple = math.ceil((start - TOLERANCE) * fps)
    return first_multiple < (end - TOLERANCE) * fps

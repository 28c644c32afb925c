"""Segmenters whose masks one knows beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.methods import Segmenter


def rectangle(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """A mask `[H W]` that is True in a box (y0, x0, y1, x1)."""
    mask = np.zeros(size, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


@dataclass(frozen=True)
class KnownBox(Segmenter):
    """Finds the same box (y0, x0, y1, x1) in every picture."""

    box: tuple[int, int, int, int]

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The box of each picture."""
        return [
            PixelMasks.from_dense(rectangle(picture.size, self.box)[None]) for picture in pictures
        ]


@dataclass(frozen=True)
class BrightArea(Segmenter):
    """Finds what is bright in a picture, as one mask."""

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The bright area of each picture."""
        return [PixelMasks.from_dense((picture.pixels.min(2) > 128)[None]) for picture in pictures]


@dataclass(frozen=True)
class NoMasks(Segmenter):
    """Finds nothing in any picture."""

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """No mask for each picture."""
        return [PixelMasks.from_dense(np.zeros((0, *picture.size), bool)) for picture in pictures]


@dataclass(frozen=True)
class FirstPictureOnly(Segmenter):
    """Finds all of the first picture, and nothing in the others."""

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """A mask of everything, then none."""
        return [
            PixelMasks.from_dense(np.ones((int(index == 0), *picture.size), bool))
            for index, picture in enumerate(pictures)
        ]

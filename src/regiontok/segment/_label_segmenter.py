"""What segmenters that label every pixel share: their working size, and labels to masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.methods import Segmenter

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8


class LabelSegmenter(Segmenter):
    """Base of the segmenters that scikit-image gives labels: every pixel lies in exactly one mask.

    Attributes:
        longest: the longer side of a larger picture while it is segmented.
    """

    longest: int

    @abstractmethod
    def labels(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
        """The label of each pixel, from 0 on."""

    @property
    def identity(self) -> str:
        """The version of scikit-image."""
        return f"scikit-image {version_of('scikit-image')}"

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The segments of each picture, at its own size, in the order of the labels."""
        return [self._segmented(picture) for picture in pictures]

    def _segmented(self, picture: Picture) -> PixelMasks:
        labels = self.labels(shrunk(picture, self.longest))
        return PixelMasks.from_labels(at_full_size(labels, picture.size))


def shrunk(picture: Picture, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels, with the longer side at most `longest` and the aspect kept; never enlarged.

    >>> shrunk(Picture.of(np.zeros((2000, 10, 3), np.uint8)), longest=640).shape
    (640, 3, 3)
    """
    height, width = picture.size
    share = longest / max(height, width)
    if share >= 1:
        return picture.pixels
    size = (max(1, round(height * share)), max(1, round(width * share)))
    return picture.resized(size, (0, 0, height, width), "bilinear")


def at_full_size(labels: Int[np.ndarray, "h w"], size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """Labels of a shrunk picture on its own pixels.

    Each pixel takes the label under its centre, so no label is invented and none is lost.

    >>> at_full_size(np.array([[0, 1]]), (2, 4)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if labels.shape == size:
        return labels
    rows, columns = (
        ((2 * np.arange(full) + 1) * small) // (2 * full)
        for full, small in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]

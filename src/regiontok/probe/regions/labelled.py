"""Images whose regions have labels: what every source of the region probe gives.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.system.errors import RegiontokError

Support = Literal["masks", "boxes"]


class LabelledSetError(RegiontokError, ValueError):
    """A source of labelled regions that cannot be used; the message says what was expected."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image with labelled regions.

    Attributes:
        picture: the image.
        masks: k regions; none is empty.
        labels: k names of classes.
    """

    picture: Picture
    masks: PixelMasks
    labels: tuple[str, ...]


class LabelledSet(ABC):
    """Images with labelled regions, read one by one, always in the same order."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Text that decides every image, region and label: part of the key of kept features."""

    @property
    def set_aside(self) -> Mapping[str, int]:
        """What could not be used before any image was read, by reason; nothing by default."""
        return {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of images, bad ones among them."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What messages call an image."""

    @abstractmethod
    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """An image with its regions.

        Args:
            index: number of the image.
            left_out: counts the regions that cannot be used, by reason.

        Raises:
            ValueError: If the image or its masks cannot be read.
        """


def usable(
    picture: Picture,
    masks: PixelMasks,
    labels: Sequence[str | None],
    support: Support,
    left_out: Counter[str],
) -> LabelledImage:
    """The regions that have a pixel and a label, as masks or as the boxes around them.

    Args:
        picture: the image.
        masks: its regions.
        labels: a name of each; None or "" for none.
        support: "masks", or "boxes".
        left_out: counts the regions that are left out, by reason.
    """
    is_empty = masks.areas == 0
    kept = []
    for index, label in enumerate(labels):
        if is_empty[index]:
            left_out["without a pixel"] += 1
        elif not label:
            left_out["without a class"] += 1
        else:
            kept.append(index)
    masks = PixelMasks(masks.size, masks.take(kept).counts)
    if support == "boxes":
        masks = box_masks(masks.boxes, masks.size)
    return LabelledImage(picture, masks, tuple(str(labels[index]) for index in kept))


def box_masks(boxes: np.ndarray, size: tuple[int, int]) -> PixelMasks:
    """Boxes `[k 4]`, xyxy in pixels, as masks of an image of `size` = (H, W).

    >>> box_masks(np.array([[1.0, 0.0, 3.0, 2.0]]), (3, 4)).areas.tolist()
    [4]
    """
    polygons = [
        [[x0, y0, x1, y0, x1, y1, x0, y1]]
        for x0, y0, x1, y1 in np.asarray(boxes, np.float64).reshape(-1, 4).tolist()
    ]
    return PixelMasks.from_coco(polygons, size)

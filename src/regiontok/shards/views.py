"""Training views of images: their settings, the labels of regions, and what a view holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from regiontok.shards.device_decode import EncodedCrop
from regiontok.shards.tar import ShardError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

Kind = Literal["object", "text"]
Crop = tuple[int, int, int, int]


@dataclass(frozen=True)
class ViewSettings:
    """The settings of a view.

    Attributes:
        size: (H, W) of the view in pixels.
        regions: number N of its regions.
        scale: smallest and largest share of the image's area that a crop has; None takes the whole
            image, stretched (for evaluation).
        ratio: smallest and largest width over height of a crop, against the view's own.
        flip: probability that an image without text is mirrored.
        positives: number M of token ids that a text region has at most; objects have one label.
        patch: side of the patches on which `View.shares` lies; None leaves it out.
        min_confidence: text that is used has a confidence above it (R2: 0.7).
        text_visible: share of a text box that must lie within the crop.
        empty: what becomes of an image without a region in view: "next" passes over it, "ignore"
            gives it N times the whole view with label -1, "error" is an error.
        masks: False takes the boxes of regions also where they have masks.
        encoded: upright JPEGs stay encoded, to be decoded where the batch goes (`View.encoded`).

    Raises:
        ValueError: If the patch does not divide the size, or a value is out of its range.
    """

    size: tuple[int, int]
    regions: int = 10
    scale: tuple[float, float] | None = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    positives: int = 10
    patch: int | None = None
    min_confidence: float = 0.7
    text_visible: float = 0.8
    empty: Literal["next", "ignore", "error"] = "next"
    masks: bool = True
    encoded: bool = False

    def __post_init__(self) -> None:
        if min(*self.size, self.regions, self.positives) < 1:
            raise ValueError(
                f"size {self.size}, regions {self.regions} and positives {self.positives} "
                "must be at least 1"
            )
        if self.patch is not None and (
            self.patch < 1 or self.size[0] % self.patch or self.size[1] % self.patch
        ):
            raise ValueError(
                f"a view of {self.size} is not made of whole patches of {self.patch} pixels"
            )
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be (from, to) within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be (from, to) above 0, got {self.ratio}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is a probability, got {self.flip}")
        if self.empty not in ("next", "ignore", "error"):
            raise ValueError(f"empty must be 'next', 'ignore' or 'error', not {self.empty!r}")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) patches of a view; without patches one cell, which tells what is in view."""
        if not self.patch:
            return 1, 1
        return self.size[0] // self.patch, self.size[1] // self.patch


@dataclass(frozen=True)
class LabelSpace:
    """The labels that regions may have.

    Attributes:
        classes: number of object classes, 0 to classes - 1.
        vocabulary: number of token ids of text, 0 to vocabulary - 1.
        tokenize: gives the token ids of a text; None if no text is used.
    """

    classes: int
    vocabulary: int = 0
    tokenize: Callable[[str], Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One view with N regions.

    Attributes:
        pixels: `[H W 3]` uint8.
        boxes: `[N 4]` float32, xyxy in pixels of the view, cut to it.
        kinds: `[N]` int8: 0 for an object, 1 for text.
        labels: `[N M]` int64: an object's class first; up to M of a text's token ids, at random
            where it has more; -1 for none.
        excluded: `[N E]` int64: a text's other token ids, which are no negatives of it either; -1
            for none; E is as large as this view needs.
        regions: `[N]` int64, the region's number in the image; a number that comes twice was
            resampled; -1 under `empty="ignore"`.
        shares: `[N h w]` float32, share of each patch that the region's mask (its box, if it has
            none) covers; or None.
        has_mask: `[N]` bool: True where it is a mask that they are of.
        crop: (y0, x0, y1, x1) of the image in its pixels.
        flipped: True if left is right.
        dropped: number of regions that are left out: outside the crop, without a pixel of their
            mask in it, text without a token.
        shard: name of the image's shard.
        index: the image's number in its tar.
        skipped: images that stood at this position and could not be used, as "shard, image:
            reason".
        encoded: the crop that `pixels`, which are 0 then, shall be decoded from; or None.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    boxes: Float[np.ndarray, "N 4"]
    kinds: Int[np.ndarray, "N"]
    labels: Int[np.ndarray, "N M"]
    excluded: Int[np.ndarray, "N E"]
    regions: Int[np.ndarray, "N"]
    shares: Float[np.ndarray, "N h w"] | None
    has_mask: Bool[np.ndarray, "N"]
    crop: Crop
    flipped: bool
    dropped: int
    shard: str
    index: int
    skipped: tuple[str, ...] = ()
    encoded: EncodedCrop | None = None


class NoRegion(ShardError):
    """An image without a region in view."""


def to_view(
    boxes: Float[np.ndarray, "k 4"], crop: Crop, size: tuple[int, int]
) -> Float[np.ndarray, "k 4"]:
    """Boxes in pixels of the image as boxes in pixels of a view that shows `crop`, cut to it.

    It is `Frame.boxes_to_grid` with patches of one pixel, without its way through tensors (20 us
    instead of 300; a test compares them).

    Args:
        boxes: `[k 4]` xyxy in pixels of the image.
        crop: (y0, x0, y1, x1) of the image.
        size: (H, W) of the view.

    >>> to_view(np.array([[0, 5, 30, 10]]), (0, 10, 20, 20), (40, 40)).tolist()
    [[0.0, 10.0, 40.0, 20.0]]
    """
    y0, x0, y1, x1 = crop
    start = np.array([x0, y0, x0, y0], np.float64)
    stop = np.array([x1, y1, x1, y1], np.float64)
    inside = np.minimum(np.maximum(boxes, start), stop) - start
    scale = np.array([size[1], size[0]] * 2) / (stop - start)
    scaled: np.ndarray = (inside * scale).astype(np.float32)
    return scaled

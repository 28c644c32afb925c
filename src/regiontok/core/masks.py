"""PixelMasks: run-length coded pixel masks of one image, with scores and names.

150 masks of 640 x 480 take 19 kB run-length coded and 46 MB dense (measured), so masks are dense
only on demand, and never when they are passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor

from regiontok.core.rle import code_of_segmentation, codes_of_labels, runs_of_code
from regiontok.core.sizes import counted, shape_text
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from regiontok.core.picture import Picture


class NotANumber(RegiontokError, ValueError):
    """Masks or scores that are NaN: what made them overflowed, or has damaged weights."""


@dataclass(frozen=True, eq=False, repr=False)
class PixelMasks:
    """k masks of one image; they may overlap, leave gaps, or be empty.

    Attributes:
        size: (H, W) of the image in pixels.
        counts: k compressed COCO run-length codes.
        scores: `[k]` float, or None.
        names: k words, such as categories, or None.

    Raises:
        ValueError: If there are not as many scores or names as masks.

    >>> masks = PixelMasks.from_labels(np.array([[0, 0, 1], [0, 2, 1]]))
    >>> masks
    PixelMasks(3 masks, 2 x 3 pixels)
    >>> masks.areas.tolist(), masks.boxes[1].tolist()
    ([3, 2, 1], [2.0, 0.0, 3.0, 2.0])
    """

    size: tuple[int, int]
    counts: tuple[bytes, ...]
    scores: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field, values in (("scores", self.scores), ("names", self.names)):
            if values is not None and len(values) != len(self):
                raise ValueError(f"{len(self)} masks need {len(self)} {field}, got {len(values)}")

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        extras = "".join(
            f", {field}"
            for field, values in (("scores", self.scores), ("names", self.names))
            if values is not None
        )
        return f"PixelMasks({counted(len(self), 'mask')}, {shape_text(self.size)} pixels{extras})"

    @classmethod
    def from_dense(
        cls,
        masks: Bool[Tensor, "k H W"] | np.ndarray,
        scores: Sequence[float] | np.ndarray | None = None,
        names: Iterable[str] | None = None,
    ) -> PixelMasks:
        """Masks from a dense array `[k H W]`; anything but 0 is inside.

        Raises:
            ValueError: If the array has another shape.
            NotANumber: If a value is NaN, which is neither inside nor outside.
        """
        _refuse_nan(masks)
        dense = (masks != 0).cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
        if dense.ndim != 3:
            raise ValueError(f"expected masks [k H W], got shape {list(dense.shape)}")
        last_axis = np.asfortranarray((dense != 0).transpose(1, 2, 0).astype(np.uint8))
        codes = coco.encode(last_axis) if len(dense) else []
        size = (dense.shape[1], dense.shape[2])
        return cls(size, tuple(code["counts"] for code in codes), _floats(scores), _words(names))

    @classmethod
    def from_labels(cls, labels: Int[Tensor, "H W"] | np.ndarray) -> PixelMasks:
        """One mask for each label of `[H W]` integers, in the order of the labels.

        Negative labels make no mask.
        """
        labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"expected integer labels [H W], got {labels.dtype} of shape {list(labels.shape)}"
            )
        return cls((labels.shape[0], labels.shape[1]), codes_of_labels(labels))

    @classmethod
    def from_coco(
        cls,
        segmentations: Iterable[Any],
        size: tuple[int, int],
        scores: Sequence[float] | np.ndarray | None = None,
        names: Iterable[str] | None = None,
    ) -> PixelMasks:
        """Masks from COCO `segmentation` values.

        Args:
            segmentations: polygons, run lengths as a list, or compressed run lengths (text or
                bytes).
            size: (H, W) of the image in pixels.
            scores: one score a mask.
            names: one word a mask.

        Raises:
            ValueError: If a code is of another size, or cannot be read.
        """
        counts = tuple(code_of_segmentation(value, size) for value in segmentations)
        return cls(size, counts, _floats(scores), _words(names))

    @property
    def areas(self) -> np.ndarray:
        """`[k]` int64, pixels inside each mask."""
        return np.array([int(coco.area(code)) for code in self.to_coco(text=False)], np.int64)

    @property
    def boxes(self) -> np.ndarray:
        """`[k 4]` float64, xyxy pixels around each mask; zeros for an empty one."""
        boxes = [coco.toBbox(code) for code in self.to_coco(text=False)]
        xywh = np.array(boxes, np.float64).reshape(-1, 4)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    def dense(self, index: Sequence[int] | range | None = None) -> Bool[Tensor, "k H W"]:
        """The masks as `[k H W]` bool; with `index`, only the masks of those indices."""
        codes = (self if index is None else self.take(index)).to_coco(text=False)
        if not codes:
            return torch.zeros(0, *self.size, dtype=torch.bool)
        columns = coco.decode(codes).T  # [k W H] as it lies in memory: what follows is a view
        return torch.from_numpy(columns.view(np.bool_)).transpose(1, 2)

    def runs(self, index: int) -> Int[np.ndarray, "r 2"]:
        """Where the runs of one mask begin and end when the image is read column by column.

        Pixel (y, x) has the number x * H + y.
        """
        edges = runs_of_code(self.counts[index]).cumsum()
        return edges[: len(edges) // 2 * 2].reshape(-1, 2)

    def labels(self) -> Int[Tensor, "H W"]:
        """`[H W]` index of the mask under each pixel, -1 for none; the smallest mask wins."""
        labels = torch.full(self.size, -1, dtype=torch.int64)
        for index in np.argsort(-self.areas, kind="stable").tolist():
            labels[self.dense([index])[0]] = index
        return labels

    def take(self, index: Sequence[int]) -> PixelMasks:
        """The masks of `index`, in its order."""
        index = [int(i) for i in index]
        scores = None if self.scores is None else self.scores[index]
        names = None if self.names is None else tuple(self.names[i] for i in index)
        return PixelMasks(self.size, tuple(self.counts[i] for i in index), scores, names)

    def to_coco(self, *, text: bool = True) -> list[dict[str, Any]]:
        """COCO run-length objects; with `text` their counts are text, ready for JSON, not bytes."""
        return [
            {"size": list(self.size), "counts": code.decode("ascii") if text else code}
            for code in self.counts
        ]


def _floats(scores: Sequence[float] | np.ndarray | None) -> np.ndarray | None:
    return None if scores is None else np.asarray(scores, np.float64)


def _words(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def masks_from(
    segmenter: Callable[[Sequence[Picture]], Sequence[PixelMasks]], pictures: Sequence[Picture]
) -> list[PixelMasks]:
    """The masks that a segmenter gives; an error of numbers that are none names it.

    Raises:
        NotANumber: If its masks or scores are NaN.
    """
    try:
        masks_by_picture = list(segmenter(pictures))
        scores = [masks.scores for masks in masks_by_picture if masks.scores is not None]
        if any(np.isnan(np.asarray(each, np.float64)).any() for each in scores):
            raise NotANumber("the score of a mask is NaN")
        return masks_by_picture
    except NotANumber as error:
        raise NotANumber(
            f"segmenter {segmenter!r:.200}: {error}; its weights are damaged, or its numbers leave "
            "the range of its dtype: try float32"
        ) from None


def _refuse_nan(masks: Tensor | np.ndarray) -> None:
    if isinstance(masks, Tensor):
        has_nan = masks.is_floating_point() and bool(masks.isnan().any())
    else:
        array = np.asarray(masks)
        has_nan = array.dtype.kind == "f" and bool(np.isnan(array).any())
    if has_nan:
        raise NotANumber("masks have NaN, which is neither inside nor outside")

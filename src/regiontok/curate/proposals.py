"""Proposals: which masks of an image become regions, as boxes with scores, best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.curate.plan import ProposePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Proposals:
    """The regions that are proposed for an image.

    Attributes:
        boxes: `[k 4]` float32, xyxy in whole pixels of the upright image.
        scores: `[k]` float32, descending.
        masks: k compressed COCO run-length codes of the image's size; empty where none are kept.
    """

    boxes: Float[np.ndarray, "k 4"]
    scores: Float[np.ndarray, "k"]
    masks: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)


def proposals_of(masks: PixelMasks, size: Size, plan: ProposePlan) -> Proposals:
    """The masks of an image, or of a smaller copy of it, that a plan makes regions of.

    The score is the segmenter's own; from one that gives none it is the share of its box that a
    mask fills: a box around a ring of background is a worse crop than one that its object fills.

    Args:
        masks: the masks.
        size: (H, W) of the image.
        plan: which boxes are large enough and different enough.
    """
    scores = box_shares(masks) if masks.scores is None else masks.scores
    boxes = enlarged_boxes(masks.boxes, masks.size, size)
    edges = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=max(size))
    large = np.flatnonzero(edges >= plan.shorter_edge)
    chosen = large[suppressed(boxes[large], scores[large], plan.overlap)]
    codes: tuple[bytes, ...] = ()
    if plan.masks:
        codes = enlarged_masks(masks.take(chosen.tolist()), size).counts
    return Proposals(boxes[chosen].astype(np.float32), scores[chosen].astype(np.float32), codes)


def box_shares(masks: PixelMasks) -> Float[np.ndarray, "k"]:
    """The share of its box that each mask fills, 0 for an empty mask.

    >>> box_shares(PixelMasks.from_labels(np.array([[0, 0, 1], [0, 1, 1]]))).tolist()
    [0.75, 0.75]
    """
    sides = masks.boxes[:, 2:] - masks.boxes[:, :2]
    return masks.areas / np.maximum(sides.prod(1), 1)


def suppressed(
    boxes: Float[np.ndarray, "k 4"], scores: Float[np.ndarray, "k"], overlap: float
) -> Int[np.ndarray, "j"]:
    """Non-maximum suppression: the boxes that overlap no better one, best first.

    Of equal scores the first counts as better, so that the result is the same everywhere.

    Args:
        boxes: xyxy boxes.
        scores: their scores.
        overlap: a box whose IoU with a better one that stays is above this goes.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], float)
    >>> suppressed(boxes, np.array([0.5, 0.9, 0.7]), 0.7).tolist()
    [1, 2]
    """
    waiting = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    chosen = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        chosen.append(best)
        lower = np.maximum(boxes[best, :2], boxes[waiting, :2])
        upper = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = np.maximum(upper - lower, 0).prod(1)
        iou = shared / np.maximum(areas[best] + areas[waiting] - shared, 1e-9)
        waiting = waiting[iou <= overlap]
    return np.array(chosen, np.int64)


def enlarged_boxes(
    boxes: Float[np.ndarray, "k 4"], small: Size, size: Size
) -> Float[np.ndarray, "k 4"]:
    """Boxes of whole pixels of a smaller copy, in pixels of the image.

    They are the boxes of `enlarged_masks`: a pixel of the image belongs to the one of the copy that
    lies under its centre.

    >>> enlarged_boxes(np.array([[1, 0, 3, 2]]), (2, 3), (5, 6)).tolist()
    [[2.0, 0.0, 6.0, 5.0]]
    """
    few, many = (np.array([*lengths, *lengths])[[1, 0, 3, 2]] for lengths in (small, size))
    ends = -((few - 2 * many * boxes.astype(np.int64)) // (2 * few))
    return ends.astype(np.float64)


def enlarged_masks(masks: PixelMasks, size: Size) -> PixelMasks:
    """Masks of a smaller copy on the image's own pixels."""
    if masks.size == size:
        return masks
    rows, columns = (
        ((2 * np.arange(many) + 1) * few) // (2 * many)
        for few, many in zip(masks.size, size, strict=True)
    )
    dense = masks.dense().numpy()
    codes = [PixelMasks.from_dense(mask[rows][:, columns][None]).counts[0] for mask in dense]
    return PixelMasks(size, tuple(codes), masks.scores, masks.names)

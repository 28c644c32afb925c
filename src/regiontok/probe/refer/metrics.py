"""How well predicted masks fit: cIoU, gIoU and P@0.5, with bootstrap intervals over pictures.

After: LISA's `validate` (Lai et al., CVPR 2024): cIoU is the sum of all intersections over the sum
of all unions, gIoU the mean of each expression's IoU, with 1e-5 added to its union. An empty union
counts 1 in gIoU; pixels whose truth is 255 count nowhere.
Differs: intervals; LISA reports none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from regiontok.evaluation.sample import Sample, ratio, resampling_weights

if TYPE_CHECKING:
    from jaxtyping import Bool

IOU_EPS = 1e-5
IGNORED = 255  # a pixel of the truth that counts nowhere
RESAMPLES = 2000


class Overlap(NamedTuple):
    """How a predicted mask and the true one overlap, in pixels.

    Attributes:
        intersection: pixels of both.
        union: pixels of either.
    """

    intersection: int
    union: int

    @classmethod
    def of(cls, predicted: Bool[Tensor, "H W"], truth: Tensor) -> Overlap:
        """The overlap of two masks of one size; pixels of the truth that are 255 count nowhere.

        Raises:
            ValueError: If the sizes differ.
        """
        if predicted.shape != truth.shape:
            raise ValueError(
                f"expected a mask of the picture's size {list(truth.shape)}, "
                f"got {list(predicted.shape)}"
            )
        counted = truth != IGNORED
        inside, target = predicted & counted, truth.bool() & counted
        return cls(int((inside & target).sum()), int((inside | target).sum()))

    @property
    def iou(self) -> float:
        """Intersection over union, 1 for an empty union.

        >>> Overlap(0, 0).iou, round(Overlap(1, 2).iou, 4)
        (1.0, 0.5)
        """
        return self.intersection / (self.union + IOU_EPS) if self.union else 1.0


class Interval(NamedTuple):
    """A score and its 95 % interval, in percent.

    Attributes:
        value: the score.
        low, high: the ends of the interval.
    """

    value: float
    low: float
    high: float


def scores(
    overlaps: Sequence[Overlap], pictures: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """The scores of predicted masks, by the names "ciou", "giou" and "p50", in percent.

    Args:
        overlaps: one of each expression.
        pictures: the picture of each: expressions about one picture are drawn together.
        resamples: of the bootstrap.

    Raises:
        ValueError: If there is no expression, or no picture for each.

    >>> found = scores([Overlap(1, 2), Overlap(3, 3)], ["a", "b"], resamples=10)
    >>> round(found["ciou"].value, 1), round(found["giou"].value, 1)
    (80.0, 75.0)
    """
    if not overlaps or len(overlaps) != len(pictures):
        raise ValueError(
            f"expected at least one expression and a picture for each, got {len(overlaps)} "
            f"and {len(pictures)}"
        )
    table = np.array(overlaps, float)
    ious = np.array([overlap.iou for overlap in overlaps])
    marks = {"intersection": table[:, 0], "union": table[:, 1], "iou": ious}
    plain = Sample({**marks, "right": (ious > 0.5).astype(float)}, {})
    drawn = plain.weighted(resampling_weights(np.array(pictures), resamples, seed=0))
    values, spreads = _all(plain), _all(drawn)
    ends = {
        name: np.nanpercentile(spread, [2.5, 97.5]).tolist() for name, spread in spreads.items()
    }
    return {name: Interval(float(values[name][0]), *ends[name]) for name in values}


def _all(sample: Sample) -> dict[str, np.ndarray]:
    ciou = ratio(sample.total(sample["intersection"]), sample.total(sample["union"]))
    return {"ciou": 100 * ciou, "giou": sample.share("iou"), "p50": sample.share("right")}

"""Masks of an object over a clip: region similarity J and contour accuracy F.

After: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation", CVPR 2016, section 4, as the toolkit of DAVIS 2017 computes it: boundaries one
    pixel wide, matched within a disk whose radius is .008 of the frame's diagonal, rounded up.
Differs: nothing known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TOLERANCE = 0.008  # of the diagonal


@dataclass(frozen=True, eq=False)
class MaskTrackScores:
    """J and F of every frame of a clip.

    Attributes:
        region: `[n]`, J of each frame.
        contour: `[n]`, F of each frame.
    """

    region: Float[np.ndarray, "n"]
    contour: Float[np.ndarray, "n"]

    @property
    def region_mean(self) -> float:
        """The mean of J without the first frame, which was given, and the last."""
        return float(self.region[1:-1].mean())

    @property
    def contour_mean(self) -> float:
        """The mean of F without the first frame and the last."""
        return float(self.contour[1:-1].mean())

    @property
    def mean(self) -> float:
        """J&F: the mean of the two means."""
        return (self.region_mean + self.contour_mean) / 2


def mask_track_scores(
    masks: Sequence[Bool[np.ndarray, "H W"]], truth: Sequence[Bool[np.ndarray, "H W"]]
) -> MaskTrackScores:
    """J and F of the masks of one object over a clip.

    Raises:
        ValueError: If the numbers of frames differ, or are below 3, or a mask has another size.
    """
    if len(masks) != len(truth) or len(truth) < 3:
        raise ValueError(
            f"expected masks and truth of one same number of frames, 3 at least, got {len(masks)} "
            f"and {len(truth)}"
        )
    pairs = list(zip(masks, truth, strict=True))
    region = np.array([region_similarity(mask, true) for mask, true in pairs])
    return MaskTrackScores(region, np.array([contour_accuracy(mask, true) for mask, true in pairs]))


def region_similarity(mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> float:
    """J: intersection over union of two masks; 1 where both are empty.

    Raises:
        ValueError: If their sizes differ.

    >>> region_similarity(np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool))
    0.3333333333333333
    """
    _check_sizes(mask, truth)
    union = np.count_nonzero(mask | truth)
    return float(np.count_nonzero(mask & truth) / union) if union else 1.0


def contour_accuracy(
    mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], tolerance: float = TOLERANCE
) -> float:
    """F: the harmonic mean of the shares of either boundary that lie near the other.

    Args:
        mask, truth: the two masks.
        tolerance: what near means, in diagonals of the frame.

    Raises:
        ValueError: If their sizes differ.
    """
    _check_sizes(mask, truth)
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    found, true = boundary(mask), boundary(truth)
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    precision = float(_near(true, radius)[found].mean())
    recall = float(_near(found, radius)[true].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The pixels of a mask's boundary: those unlike the right, the lower or the diagonal neighbour.

    >>> boundary(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    edge: Bool[np.ndarray, "H W"] = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    return edge


def _near(edge: Bool[np.ndarray, "H W"], radius: int) -> Bool[np.ndarray, "H W"]:
    near: Bool[np.ndarray, "H W"] = distance_transform_edt(~edge) <= radius
    return near


def _check_sizes(mask: np.ndarray, truth: np.ndarray) -> None:
    if mask.shape != truth.shape:
        raise ValueError(f"expected masks of one size, got {mask.shape} and {truth.shape}")

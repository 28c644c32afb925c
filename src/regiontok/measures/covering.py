"""Region quality against human segmentations: covering, Rand index, variation of information.

After: Arbelaez, Maire, Fowlkes and Malik, "Contour Detection and Hierarchical Image Segmentation",
    PAMI 2011, section 3.1, as the BSDS500 region benchmark computes it (regionBench,
    evaluation_reg_image, collect_eval_reg); Unnikrishnan et al. 2007 for the (probabilistic) Rand
    index over several annotators, Meila 2005 for the variation of information.
Differs: pixels may lie in no region (in the benchmark none does): such a pixel has a NEGATIVE
    label. It never covers anything, so it lowers the covering. For the Rand index and the variation
    of information all such pixels are one region of their own. Leaving them out instead would
    reward a method for handing in the easy pixels only; a region per pixel would let the variation
    of information grow with the photo's resolution (one more bit at each doubling of the pixels
    left open). The benchmark hands the sums of a photo on as text with six digits; nothing is
    rounded here, so its printed figures differ by up to 2e-6 (with that rounding the test gets
    every digit).

High covering and Rand index are good, so is a LOW variation of information. None can be judged
alone: what one region for the whole photo and a regular grid reach by chance stands beside every
method in `bench/regions_bsds.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.sizes import ShownBySizes

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False, repr=False)
class Covering(ShownBySizes):
    """How well regions are covered, region by region.

    It is not one number: annotators, photos and settings are joined by their numerators and
    denominators.

    Attributes:
        overlap: best intersection over union of each region.
        size: its number of pixels.
    """

    overlap: Float[np.ndarray, " k"]
    size: Int[np.ndarray, " k"]

    @property
    def covered(self) -> float:
        """The numerator, in pixels: every region's size times its best overlap."""
        return float(self.overlap @ self.size)

    @property
    def pixels(self) -> int:
        """The denominator: pixels of all regions."""
        return int(self.size.sum())

    @property
    def share(self) -> float:
        """The covering, 0 to 1; 0 if there is no region to cover."""
        return self.covered / self.pixels if self.pixels else 0.0

    @staticmethod
    def join(coverings: Sequence[Covering]) -> Covering:
        """The regions of several annotators or photos laid end to end."""
        return Covering(
            np.concatenate([covering.overlap for covering in coverings]),
            np.concatenate([covering.size for covering in coverings]),
        )

    @staticmethod
    def best(settings: Sequence[Covering]) -> Covering:
        """The SAME regions, each with its best overlap over several settings."""
        overlaps = [covering.overlap for covering in settings]
        return Covering(np.maximum.reduce(overlaps), settings[0].size)


@dataclass(frozen=True, eq=False)
class RegionScores:
    """One segmentation against all annotators of one photo; `region_scores` makes it.

    Attributes:
        covering: the regions of all annotators, each with its best overlap with a region of the
            segmentation; `covering.share` is the papers' figure.
        reverse: the segmentation's regions, each with its best overlap with a region of ANY
            annotator (the benchmark's "precision").
        rand: Rand index, 0 to 1, mean over annotators.
        voi: variation of information in bits, mean over annotators.
    """

    covering: Covering
    reverse: Covering
    rand: float
    voi: float


@dataclass(frozen=True, eq=False)
class DatasetScores:
    """A data set at `s` settings (thresholds, budgets); `dataset_scores` makes it.

    Covering sums numerators and denominators over photos, the other two weigh photos equally.

    Attributes:
        covering, rand, voi: the figures of each setting for ALL photos; `covering_ods`, `rand_ods`
            and `voi_ods` are the best of them.
        covering_ois, rand_ois, voi_ois: the figures if every photo takes its best setting.
        covering_best: the covering if every human region takes its best setting.
    """

    covering: Float[np.ndarray, " s"]
    rand: Float[np.ndarray, " s"]
    voi: Float[np.ndarray, " s"]
    covering_ois: float
    covering_best: float
    rand_ois: float
    voi_ois: float

    @property
    def covering_ods(self) -> float:
        """Covering at the one setting that is best for the whole set."""
        return float(self.covering.max())

    @property
    def rand_ods(self) -> float:
        """Rand index at the one setting that is best for the whole set."""
        return float(self.rand.max())

    @property
    def voi_ods(self) -> float:
        """Variation of information at the one setting that is best (lowest) for the whole set."""
        return float(self.voi.min())


def contingency(a: Int[np.ndarray, "H W"], b: Int[np.ndarray, "H W"]) -> Int[np.ndarray, "ka kb"]:
    """Pixels that region i of `a` shares with region j of `b`, in ascending order of their ids.

    All negative ids together ("in no region") are the first row or column.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the maps differ in shape or are empty.

    >>> contingency([[5, 5, 9]], [[1, 2, 2]])
    array([[1, 1],
           [0, 1]])
    """
    (a, regions_a, _), (b, regions_b, _) = _consecutive(a), _consecutive(b)
    return _joint(a, regions_a, b, regions_b)


def covering(segmentation: Int[np.ndarray, "H W"], human: Int[np.ndarray, "H W"]) -> Covering:
    """How well the segmentation covers the regions of ONE human map.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the maps differ in shape or are empty, or the human map has negative labels.

    >>> covering([[0, 0, 0, 1]], [[0, 0, 1, 1]]).share  # 2/3 for the left half, 1/2 for the right
    0.5833333333333333
    >>> covering([[0, 0, -1, -1]], [[0, 0, 1, 1]]).share  # nothing covers the right half
    0.5
    """
    return region_scores(segmentation, [human]).covering


def rand_index(a: Int[np.ndarray, "H W"], b: Int[np.ndarray, "H W"]) -> float:
    """The share of pixel pairs on which two maps agree: together in both, or apart in both.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the maps differ in shape or are empty.

    >>> rand_index([[0, 0, 1]], [[0, 1, 1]])  # of three pairs only (first, last) is apart in both
    0.3333333333333333
    """
    return _rand(contingency(a, b))


def variation_of_information(a: Int[np.ndarray, "H W"], b: Int[np.ndarray, "H W"]) -> float:
    """H(a|b) + H(b|a) in bits: what two maps do not tell of each other. It is a metric.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the maps differ in shape or are empty.

    >>> variation_of_information([[0, 0, 0, 0]], [[0, 0, 1, 1]])  # one bit: left or right half
    1.0
    """
    return _voi(contingency(a, b))


def region_scores(
    segmentation: Int[np.ndarray, "H W"], humans: Sequence[Int[np.ndarray, "H W"]]
) -> RegionScores:
    """One segmentation against all annotators of a photo, by the BSDS500 rule.

    Ids may be any integers; a negative one means "in no region".

    Raises:
        TypeError: If labels are not integers.
        ValueError: If maps differ in shape or are empty, if there are no annotators, or if a human
            map has negative labels (pixels without annotation would need a rule of their own).

    >>> scores = region_scores([[0, 0, 1, 1]], [[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
    >>> scores.covering.share, scores.voi  # (4 * 1 + 4 * 1/2) / 8, (0 + 1) / 2
    (0.75, 0.5)
    """
    if not len(humans):
        raise ValueError("expected at least one human segmentation, got none")
    labels, regions, has_gaps = _consecutive(segmentation)
    first = int(has_gaps)  # the segmentation's first region that is not "in no region"
    coverings, reverse, rand, voi = [], [], [], []
    for number, human in enumerate(humans):
        human_labels, human_regions, has_unlabelled = _consecutive(human)
        if has_unlabelled:
            raise ValueError(
                "expected human maps that label every pixel, got negative labels in human map "
                f"{number}; give those pixels an id of their own"
            )
        joint = _joint(labels, regions, human_labels, human_regions)
        overlap = _overlap(joint)[first:]
        coverings.append(Covering(overlap.max(axis=0, initial=0.0), joint.sum(axis=0)))
        reverse.append(Covering(overlap.max(axis=1), joint.sum(axis=1)[first:]))
        rand.append(_rand(joint))
        voi.append(_voi(joint))
    return RegionScores(
        covering=Covering.join(coverings),
        reverse=Covering.best(reverse),
        rand=float(np.mean(rand)),
        voi=float(np.mean(voi)),
    )


def dataset_scores(photos: Sequence[Sequence[RegionScores]]) -> DatasetScores:
    """The benchmark's figures of a whole set, from `photos[photo][setting]`.

    Settings are in the same order for every photo.

    Raises:
        ValueError: If there are no photos or settings, or photos differ in their number of
            settings.
    """
    counts = {len(settings) for settings in photos}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"expected photos with one same number of settings, at least 1, got {sorted(counts)}"
        )
    rand = np.array([[scores.rand for scores in settings] for settings in photos])
    voi = np.array([[scores.voi for scores in settings] for settings in photos])
    covered = np.array([[scores.covering.covered for scores in settings] for settings in photos])
    best = Covering.join(
        [Covering.best([scores.covering for scores in settings]) for settings in photos]
    )
    return DatasetScores(
        covering=covered.sum(axis=0) / best.pixels,
        rand=rand.mean(axis=0),
        voi=voi.mean(axis=0),
        covering_ois=float(covered.max(axis=1).sum() / best.pixels),
        covering_best=best.share,
        rand_ois=float(rand.max(axis=1).mean()),
        voi_ois=float(voi.min(axis=1).mean()),
    )


def _consecutive(labels: Int[np.ndarray, "H W"]) -> tuple[Int[np.ndarray, "H W"], int, bool]:
    """Labels as 0 ... k-1 in the order of the ids, and their number k.

    The last result says whether number 0 stands for "in no region".
    """
    labels = np.asarray(labels)
    if not labels.size:
        raise ValueError(f"expected a label map with pixels, got shape {labels.shape}")
    if labels.dtype.kind not in "iub":
        raise TypeError(f"expected a map of integer labels, got {labels.dtype}")
    labels = np.maximum(labels.astype(np.int64), -1)
    lowest, highest = int(labels.min()), int(labels.max())
    if highest - lowest > 4 * labels.size:
        # Sparse ids, such as a panoptic PNG's 24 bits: a table would be mostly empty.
        ids, labels = np.unique(labels, return_inverse=True)
        return labels, len(ids), lowest < 0
    # A table takes 0.5 ms for 481 x 321 pixels, np.unique 6.5 ms.
    present = np.bincount((labels - lowest).ravel()) > 0
    return (np.cumsum(present) - 1)[labels - lowest], int(present.sum()), lowest < 0


def _joint(
    a: Int[np.ndarray, "H W"], regions_a: int, b: Int[np.ndarray, "H W"], regions_b: int
) -> Int[np.ndarray, "ka kb"]:
    """Pixels that each region of `a` shares with each of `b`."""
    if a.shape != b.shape:
        raise ValueError(f"expected two label maps of one shape, got {a.shape} and {b.shape}")
    pairs = np.bincount((a * regions_b + b).ravel(), minlength=regions_a * regions_b)
    return pairs.reshape(regions_a, regions_b)


def _overlap(joint: Int[np.ndarray, "ka kb"]) -> Float[np.ndarray, "ka kb"]:
    """Intersection over union of every pair of regions."""
    union = joint.sum(axis=1, keepdims=True) + joint.sum(axis=0, keepdims=True) - joint
    overlap: Float[np.ndarray, "ka kb"] = joint / union
    return overlap


def _rand(joint: Int[np.ndarray, "ka kb"]) -> float:
    """The Rand index of two maps."""

    def squares(counts: Int[np.ndarray, "..."]) -> int:
        return int(np.square(counts).sum())  # exact in int64 up to 3e9 pixels

    pixels = int(joint.sum())
    pairs = pixels * (pixels - 1)  # ordered pairs, like those in dispute
    dispute = squares(joint.sum(axis=1)) + squares(joint.sum(axis=0)) - 2 * squares(joint)
    return (pairs - dispute) / pairs if pairs else 1.0


def _voi(joint: Int[np.ndarray, "ka kb"]) -> float:
    """The variation of information of two maps, in bits."""

    def weight(counts: Int[np.ndarray, "k"]) -> float:
        # Sorted: equal partitions under other ids sum alike, and give 0 exactly.
        counts = np.sort(counts[counts > 0])
        return float(counts @ np.log2(counts))

    bits = weight(joint.sum(axis=1)) + weight(joint.sum(axis=0)) - 2 * weight(joint.ravel())
    return max(0.0, bits / int(joint.sum()))

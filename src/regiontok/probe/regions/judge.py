"""Probes of a table of rows: who is named rightly, beside majority and chance, with intervals.

After: k-NN and linear evaluation (Caron et al. 2021, arXiv:2104.14294; Oquab et al. 2023,
arXiv:2304.07193), on regions; Efron and Tibshirani 1993 (bootstrap), over images, since regions of
one image are alike.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.evaluation.sample import resampling_weights
from regiontok.evaluation.scoring import LEVEL, Value
from regiontok.measures.knn import LabelledRegions, nearest_names
from regiontok.measures.linear import fit_linear
from regiontok.system.choices import check_choice

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

PROBES = ("knn", "logistic", "ridge")
RESAMPLES = 1000
_TOGETHER = 250  # resamples of one matrix product


@dataclass(frozen=True)
class ClassScore:
    """How the regions of one class fared.

    Attributes:
        name: the class.
        regions: number of its test regions.
        images: number of test images that it is in.
        accuracy: share of the regions that are named rightly.
        mistaken: the class that they are most often taken for instead; "" if they never are.
    """

    name: str
    regions: int
    images: int
    accuracy: float
    mistaken: str


@dataclass(frozen=True)
class ProbeScore:
    """What one probe scores on one split.

    Attributes:
        probe: "knn", "logistic" or "ridge".
        accuracy: share of the test rows that are named rightly.
        class_accuracy: the same, averaged over the classes of the test rows.
        majority: what naming all by the most frequent training class scores.
        chance: what a training row drawn blindly scores.
        train, test: numbers of rows.
        images: number of test images.
        strength: the chosen strength of a linear probe's penalty; 0 for k-NN.
        classes: how each class fared.
    """

    probe: str
    accuracy: Value
    class_accuracy: Value
    majority: float
    chance: float
    train: int
    test: int
    images: int
    strength: float
    classes: tuple[ClassScore, ...]


def split_images(
    images: Int[Tensor, "n"], share: float, seed: int
) -> tuple[Bool[Tensor, "n"], Bool[Tensor, "n"]]:
    """Which rows train, and which test: images are drawn by seed, never parts of one.

    Args:
        images: the image of each row.
        share: share of the images that test.
        seed: by which they are drawn.

    Raises:
        ValueError: If a side would have no image.
    """
    known = images.unique()
    count = round(share * len(known))
    if not 0 < count < len(known):
        raise ValueError(
            f"{len(known)} images with labelled regions cannot be divided: a share of {share} of "
            f"them are {count} test images"
        )
    drawn = np.random.default_rng([seed, 7]).permutation(len(known))[:count]
    tests = torch.isin(images, known[torch.from_numpy(drawn)])
    return ~tests, tests


def frequent_classes(data: LabelledRegions, fewest: int) -> LabelledRegions:
    """The same rows with label -1 for classes that lie in too few images.

    Args:
        data: the rows.
        fewest: images that a class must lie in.
    """
    assert data.images is not None, "rows of a table have images"
    pairs = torch.stack([data.labels, data.images], 1).unique(dim=0)
    classes, counts = pairs[:, 0].unique(return_counts=True)
    common = torch.isin(data.labels, classes[(counts >= fewest) & (classes >= 0)])
    return LabelledRegions(data.features, torch.where(common, data.labels, -1), data.images)


def judged(
    train: LabelledRegions,
    test: LabelledRegions,
    names: tuple[str, ...],
    *,
    probe: str = "knn",
    k: int = 10,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ProbeScore:
    """Score one probe. Test rows of classes that no training row has are left out.

    Args:
        train: training rows.
        test: test rows, of other images.
        names: names of the classes, by label.
        probe: one of `PROBES`.
        k: neighbours of k-NN.
        seed: of the choice of the penalty, and of the bootstrap.
        resamples: resamples of the bootstrap over test images; 0 gives no interval.

    Raises:
        ValueError: If the probe is unknown, or a side has no labelled row of two classes.
    """
    check_choice("probe", probe, PROBES)
    known = torch.isin(test.labels, train.labels[train.labels >= 0].unique())
    test = LabelledRegions(test.features, torch.where(known, test.labels, -1), test.images)
    names_of_test = nearest_names(test, train, k=k)
    predicted, strength = names_of_test.predicted, 0.0
    if probe != "knn":
        fitted = fit_linear(train, probe, seed=seed)  # type: ignore[arg-type]
        predicted = fitted.predict(test.features[test.labels >= 0])
        strength = fitted.strength
    target, images = names_of_test.target, names_of_test.images
    hits = (predicted == target).double().numpy()
    accuracy, class_accuracy = _intervals(hits, target.numpy(), images.numpy(), resamples, seed)
    return ProbeScore(
        probe=probe,
        accuracy=accuracy,
        class_accuracy=class_accuracy,
        majority=float((target == names_of_test.majority).double().mean()),
        chance=float(names_of_test.blind.mean()),
        train=names_of_test.bank,
        test=len(target),
        images=len(images.unique()),
        strength=strength,
        classes=_class_scores(predicted, target, images, names),
    )


def _intervals(
    hits: Float[np.ndarray, "n"],
    target: Int[np.ndarray, "n"],
    images: Int[np.ndarray, "n"],
    resamples: int,
    seed: int,
) -> tuple[Value, Value]:
    """Accuracy and class accuracy with the middle 95 % over resampled images."""
    _, column = np.unique(target, return_inverse=True)
    of_class = np.eye(column.max() + 1)[column]
    clusters = np.array([f"image {image}" for image in images])
    drawn = [
        _accuracies(hits, of_class, resampling_weights(clusters, rows, seed + begin).astype(float))
        for begin in range(0, resamples, _TOGETHER)
        if (rows := min(_TOGETHER, resamples - begin))
    ]
    points = _accuracies(hits, of_class, np.ones((1, len(hits))))[:, 0]
    if not drawn:
        return Value(float(points[0])), Value(float(points[1]))
    tail = 50 * (1 - LEVEL)
    bounds = np.nanpercentile(np.concatenate(drawn, 1), [tail, 100 - tail], axis=1)
    overall, by_class = (
        Value(float(point), float(low), float(high))
        for point, (low, high) in zip(points, bounds.T, strict=True)
    )
    return overall, by_class


def _accuracies(
    hits: Float[np.ndarray, "n"],
    of_class: Float[np.ndarray, "n c"],
    weights: Float[np.ndarray, "r n"],
) -> Float[np.ndarray, "2 r"]:
    """Both accuracies under each weighting; a class that was not drawn does not count."""
    overall = weights @ hits / weights.sum(1)
    right, total = weights @ (of_class * hits[:, None]), weights @ of_class
    shares = np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)
    return np.stack([overall, np.nanmean(shares, 1)])


def _class_scores(
    predicted: Int[Tensor, "n"],
    target: Int[Tensor, "n"],
    images: Int[Tensor, "n"],
    names: tuple[str, ...],
) -> tuple[ClassScore, ...]:
    """How each class of the test rows fared, in the order of the labels."""
    scores = []
    for label in target.unique().tolist():
        of_class = target == label
        wrong = predicted[of_class & (predicted != target)]
        mistaken = names[int(wrong.bincount().argmax())] if len(wrong) else ""
        accuracy = float((predicted[of_class] == label).double().mean())
        count = len(images[of_class].unique())
        scores.append(ClassScore(names[label], int(of_class.sum()), count, accuracy, mistaken))
    return tuple(scores)

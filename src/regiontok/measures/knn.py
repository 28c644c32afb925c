"""Region k-NN: how often the nearest labelled regions of other images name a region rightly.

After: DINO's k-NN evaluation (Caron et al. 2021, arXiv:2104.14294), on regions; RICE's question is
whether regions of a class lie together.
Differs: plain majority of the k nearest by cosine, no temperature; ties go to the class with the
larger sum of cosines. Regions of the same image never count as neighbours: they share light and
background, and two crops of one object are nearly one region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from regiontok.core.sizes import ShownBySizes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CHUNK = 1 << 26  # similarities held at once: 256 MB of float32


@dataclass(frozen=True)
class KnnScore:
    """What the nearest neighbours score, and what chance would.

    Attributes:
        accuracy: share of the queries that are named rightly.
        class_accuracy: the same, averaged over the classes of the queries.
        chance: what a neighbour drawn blindly would score: the mean share of a query's own class
            among its candidates.
        majority: what always naming the bank's most frequent class would score (with regions of a
            query's own image counted).
        queries, bank: number of regions with a label on either side.
    """

    accuracy: float
    class_accuracy: float
    chance: float
    majority: float
    queries: int
    bank: int


@dataclass(frozen=True, eq=False)
class KnnNames:
    """What the nearest neighbours call each query.

    Attributes:
        target: `[q]` labels of the queries that have one.
        predicted: `[q]` labels that the neighbours give.
        images: `[q]` the image of each query.
        blind: `[q]` share of a query's own class among its candidates.
        majority: the bank's most frequent label.
        bank: number of labelled regions of the bank.
    """

    target: Int[Tensor, "q"]
    predicted: Int[Tensor, "q"]
    images: Int[Tensor, "q"]
    blind: Float[Tensor, "q"]
    majority: int
    bank: int


@dataclass(frozen=True, eq=False, repr=False)
class LabelledRegions(ShownBySizes):
    """Features of regions from any encoder.

    Attributes:
        features: `[n d]`, of any floating type.
        labels: `[n]` integers; a region with a negative label has none and is left out.
        images: `[n]` integers, the image of each region; None gives each region its own.

    Raises:
        ValueError: If shapes do not fit, or features are NaN or infinite.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, "n"]
    images: Int[Tensor, "n"] | None = None

    def __post_init__(self) -> None:
        count = len(self.features)
        if self.features.ndim != 2 or self.labels.shape != (count,):
            raise ValueError(
                f"expected features [n d] and labels [n], got {list(self.features.shape)}, "
                f"{list(self.labels.shape)}"
            )
        if self.images is not None and self.images.shape != (count,):
            raise ValueError(
                f"expected an image for each of {count} regions, got shape "
                f"{list(self.images.shape)}"
            )
        if not self.features.isfinite().all():
            bad = int((~self.features.isfinite()).any(1).sum())
            raise ValueError(f"{bad} of {count} regions have NaN or infinite features")

    def labelled(self) -> LabelledRegions:
        """The regions with a label, with float32 features of length 1, and images."""
        device = self.features.device
        images = torch.arange(len(self.labels)) if self.images is None else self.images
        has_label = self.labels.to(device) >= 0
        return LabelledRegions(
            normalize(self.features[has_label].float(), dim=1),
            self.labels.to(device)[has_label].long(),
            images.to(device)[has_label].long(),
        )


def region_knn(
    queries: LabelledRegions, bank: LabelledRegions | None = None, *, k: int = 10
) -> KnnScore:
    """Name every query by its `k` nearest regions in `bank`, and count.

    Arguments and errors are those of `nearest_names`.

    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> region_knn(LabelledRegions(points, torch.tensor([0, 0, 1, 1])), k=1).accuracy
    1.0
    """
    names = nearest_names(queries, bank, k=k)
    hits = names.predicted == names.target
    return KnnScore(
        accuracy=float(hits.double().mean()),
        class_accuracy=class_mean(hits, names.target),
        chance=float(names.blind.mean()),
        majority=float((names.target == names.majority).double().mean()),
        queries=len(names.target),
        bank=names.bank,
    )


def nearest_names(
    queries: LabelledRegions, bank: LabelledRegions | None = None, *, k: int = 10
) -> KnnNames:
    """Name every query by its `k` nearest regions in `bank`.

    Without a bank the candidates are the queries of all other images (leave one image out). The
    result is exact; work goes in chunks, so memory does not grow with the number of queries. With
    fewer than k candidates all of them vote.

    Raises:
        ValueError: If k is below 1, nothing is labelled, widths differ, or a query has no candidate
            (all regions are of one image).
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    asking = queries.labelled()
    candidates = asking if bank is None else bank.labelled()
    _check_sides(asking, candidates)
    classes, index = torch.cat([asking.labels, candidates.labels]).unique(return_inverse=True)
    target, labels = index[: len(asking.labels)], index[len(asking.labels) :]
    rows = max(1, CHUNK // max(len(labels), len(classes)))
    votes, chance = [], []
    for begin in range(0, len(target), rows):
        chunk = slice(begin, begin + rows)
        allowed = None if bank is not None else _of_other_images(asking, chunk)
        similarity = asking.features[chunk] @ candidates.features.T
        votes.append(_vote(similarity, allowed, labels, k, len(classes)))
        chance.append(_blind_score(target[chunk], labels, allowed))
    assert asking.images is not None, "labelled regions have images"
    return KnnNames(
        target=asking.labels,
        predicted=classes[torch.cat(votes)],
        images=asking.images,
        blind=torch.cat(chance),
        majority=int(classes[torch.bincount(labels, minlength=len(classes)).argmax()]),
        bank=len(labels),
    )


def class_mean(hits: Bool[Tensor, "q"], target: Int[Tensor, "q"]) -> float:
    """The share of hits of each class, averaged over the classes.

    >>> class_mean(torch.tensor([True, True, False]), torch.tensor([7, 7, 9]))
    0.5
    """
    _, index = target.unique(return_inverse=True)
    hits_by_class = torch.zeros(int(index.max()) + 1, dtype=torch.float64, device=hits.device)
    hits_by_class.index_add_(0, index, hits.double())
    return float((hits_by_class / torch.bincount(index)).mean())


def best_score(labels: Int[Tensor, "n"], images: Int[Tensor, "n"]) -> float:
    """The share of the labelled regions whose class is in another image, too.

    That is what perfect features score where one image at a time is left out.

    >>> best_score(torch.tensor([5, 5, 7, 7, -1]), torch.tensor([0, 1, 2, 2, 3]))
    0.5
    """
    has_label = labels >= 0
    pairs = torch.stack([labels[has_label], images[has_label]], dim=1)
    classes, images_of_class = pairs.unique(dim=0)[:, 0].unique(return_counts=True)
    elsewhere = torch.isin(pairs[:, 0], classes[images_of_class > 1])
    return float(elsewhere.double().mean()) if len(pairs) else 0.0


def _check_sides(asking: LabelledRegions, candidates: LabelledRegions) -> None:
    if not len(asking.labels) or not len(candidates.labels):
        raise ValueError(
            f"needs labelled regions on both sides, got {len(asking.labels)} queries and a bank of "
            f"{len(candidates.labels)}"
        )
    if asking.features.shape[1] != candidates.features.shape[1]:
        raise ValueError(
            f"queries are {asking.features.shape[1]} wide, the bank {candidates.features.shape[1]}"
        )


def _of_other_images(regions: LabelledRegions, chunk: slice) -> Bool[Tensor, "q n"]:
    """Which regions are candidates for the queries of a chunk: those of other images."""
    assert regions.images is not None, "labelled regions have images"
    allowed = regions.images[chunk, None] != regions.images
    if not allowed.any(1).all():
        raise ValueError("a query has no candidate: all labelled regions are of one image")
    return allowed


def _vote(
    similarity: Float[Tensor, "q n"],
    allowed: Bool[Tensor, "q n"] | None,
    labels: Int[Tensor, "n"],
    k: int,
    classes: int,
) -> Int[Tensor, "q"]:
    """The class of each query: that of most of the k nearest, then the larger sum of cosines."""
    if allowed is not None:
        similarity = similarity.masked_fill(~allowed, -torch.inf)
    cosine, index = similarity.topk(min(k, similarity.shape[1]), dim=1)
    counts = cosine > -torch.inf
    votes = torch.zeros(len(similarity), classes, dtype=torch.float64, device=similarity.device)
    # A vote is worth more than all k cosines together, which lie within (-k, k) up to rounding.
    weight = counts * (4.0 * k) + torch.where(counts, cosine.double(), 0.0)
    return votes.scatter_add_(1, labels[index], weight).argmax(1)


def _blind_score(
    target: Int[Tensor, "q"], labels: Int[Tensor, "n"], allowed: Bool[Tensor, "q n"] | None
) -> Float[Tensor, "q"]:
    """The share of each query's own class among its candidates."""
    same = target[:, None] == labels
    if allowed is None:
        return same.double().mean(1)
    return (same & allowed).sum(1).double() / allowed.sum(1)

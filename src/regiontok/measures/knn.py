"""Region k-NN: how often the nearest labelled regions of other images name a region rightly.

After: DINO's k-NN evaluation (Caron et al. 2021, arXiv:2104.14294), on regions; RICE's issue is
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

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CHUNK = 1 << 26  # similarities held at once: 256 MB of float32


@dataclass(frozen=True)
class KnnScore:
    """What came out.

    Attributes:
        accuracy: share of the queries that are named rightly.
        class_accuracy: the same, averaged over the classes of the queries.
        chance: what a neighbour drawn blindly would score: the mean share of a query's own class
            among its candidates.
        majority: what always naming the bank's most frequent class would score (its own image
            counted).
        queries, bank: how many regions had a label.
    """

    accuracy: float
    class_accuracy: float
    chance: float
    majority: float
    queries: int
    bank: int


@dataclass(frozen=True, eq=False)
class LabelledRegions:
    """Features of regions from any encoder.

    Attributes:
        features: `[n d]`, of any floating type.
        labels: `[n]` integers; negative: no label, left out.
        images: `[n]` integers, the image of each region; None: each its own.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, "n"]
    images: Int[Tensor, "n"] | None = None

    def __post_init__(self) -> None:
        count = len(self.features)
        if self.features.ndim != 2 or self.labels.shape != (count,):
            raise ValueError(
                f"expected features [n d] and labels [n], got {list(self.features.shape)}, {list(self.labels.shape)}"
            )
        if self.images is not None and self.images.shape != (count,):
            raise ValueError(
                f"expected an image for each of {count} regions, got shape {list(self.images.shape)}"
            )
        if not self.features.isfinite().all():
            raise ValueError(
                f"{int((~self.features.isfinite()).any(1).sum())} of {count} regions have NaN or infinite features"
            )

    def labelled(self) -> LabelledRegions:
        """Those with a label, with float32 features of length 1 and an image each."""
        device = self.features.device
        images = torch.arange(len(self.labels)) if self.images is None else self.images
        kept = self.labels.to(device) >= 0
        unit = normalize(self.features[kept].float(), dim=1)
        return LabelledRegions(
            unit, self.labels.to(device)[kept].long(), images.to(device)[kept].long()
        )


def region_knn(
    queries: LabelledRegions, bank: LabelledRegions | None = None, *, k: int = 10
) -> KnnScore:
    """Name every query by its `k` nearest regions in `bank`; without a bank by those of all other
    images (leave one image out).

    Exact and in chunks: memory does not grow with the number of queries. With fewer than k
    candidates all of them vote.

    Raises:
        ValueError: k below 1, nothing labelled, other widths, or a query without a candidate (all
            regions are of one image).

    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> region_knn(LabelledRegions(points, torch.tensor([0, 0, 1, 1])), k=1).accuracy
    1.0
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    own = queries.labelled()
    other = own if bank is None else bank.labelled()
    if not len(own.labels) or not len(other.labels):
        raise ValueError(
            f"needs labelled regions on both sides, got {len(own.labels)} queries and a bank of {len(other.labels)}"
        )
    if own.features.shape[1] != other.features.shape[1]:
        raise ValueError(
            f"queries are {own.features.shape[1]} wide, the bank {other.features.shape[1]}"
        )
    classes, target = torch.cat([own.labels, other.labels]).unique(return_inverse=True)
    wanted, labels = target[: len(own.labels)], target[len(own.labels) :]
    rows = max(1, CHUNK // max(len(labels), len(classes)))
    right, chance = [], []
    for at in range(0, len(wanted), rows):
        part = slice(at, at + rows)
        allowed = None
        if bank is None:
            assert own.images is not None
            allowed = own.images[part, None] != own.images
            if not allowed.any(1).all():
                raise ValueError("a query has no candidate: all labelled regions are of one image")
        near = own.features[part] @ other.features.T
        right.append(_vote(near, allowed, labels, k, len(classes)) == wanted[part])
        chance.append(_blind(wanted[part], labels, allowed))
    hits = torch.cat(right)
    per_class = torch.zeros(len(classes), dtype=torch.float64, device=hits.device).index_add_(
        0, wanted, hits.double()
    )
    counts = torch.bincount(wanted, minlength=len(classes))
    frequent = torch.bincount(labels, minlength=len(classes)).argmax()
    return KnnScore(
        accuracy=float(hits.double().mean()),
        class_accuracy=float((per_class / counts.clamp(min=1))[counts > 0].mean()),
        chance=float(torch.cat(chance).mean()),
        majority=float((wanted == frequent).double().mean()),
        queries=len(wanted),
        bank=len(labels),
    )


def _vote(near: Tensor, allowed: Tensor | None, labels: Tensor, k: int, classes: int) -> Tensor:
    """`[q]` class of each query: most of the k nearest, then the larger sum of cosines."""
    if allowed is not None:
        near = near.masked_fill(~allowed, -torch.inf)
    cosine, index = near.topk(min(k, near.shape[1]), dim=1)
    counted = cosine > -torch.inf
    votes = torch.zeros(len(near), classes, dtype=torch.float64, device=near.device)
    # one vote is worth more than all k cosines together, which lie within (-k, k) up to rounding
    weight = counted * (4.0 * k) + torch.where(counted, cosine.double(), 0.0)
    return votes.scatter_add_(1, labels[index], weight).argmax(1)


def _blind(wanted: Tensor, labels: Tensor, allowed: Tensor | None) -> Tensor:
    """`[q]`: share of each query's own class among its candidates."""
    same = wanted[:, None] == labels
    if allowed is None:
        return same.double().mean(1)
    return (same & allowed).sum(1).double() / allowed.sum(1)

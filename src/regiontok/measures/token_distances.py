"""Distances between tokens: 1 - cosine of pairs, as they are and in the form of RICE's authors.

After: RICE, section 4.2, figure 4 (row R13): distributions of pairwise distances between the tokens
of an image, or between the embeddings of the regions of a class. The authors' form: all ordered
pairs without those of a token with itself, scaled so that the smallest is 0 and the largest 1, in
1,000 bins.
Differs: nothing known. Scaling takes away how far apart tokens are and leaves the shape alone, so
the same histogram is made without it, over [0, 2].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BINS = 1000
_ROWS = 1024  # tokens whose distances are held at once


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """Distances between the tokens of one set, counted.

    Attributes:
        counts: `[bins]`, ordered pairs in each bin.
        low: the distance where the first bin begins.
        high: the distance where the last bin ends.
        mean: the mean distance.
    """

    counts: Int[Tensor, "bins"]
    low: float
    high: float
    mean: float

    @property
    def shares(self) -> Float[Tensor, "bins"]:
        """The share of the pairs in each bin."""
        return self.counts.double() / self.counts.sum()


def distance_histogram(
    tokens: Float[Tensor, "n d"], *, bins: int = BINS, scaled: bool = False
) -> DistanceHistogram:
    """The histogram of 1 - cosine over all n (n - 1) ordered pairs of different tokens.

    Distances are made block by block, so that 16,384 tokens need no matrix of their own.

    Args:
        tokens: the tokens of one image, or the embeddings of one class.
        bins: number of bins.
        scaled: True lets the bins reach from the smallest to the largest distance of this call, the
            authors' form; False from 0 to 2.

    Raises:
        ValueError: If there are fewer than two tokens, or they are NaN or infinite.

    >>> tokens = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> histogram = distance_histogram(tokens, bins=2, scaled=True)
    >>> histogram.counts.tolist(), histogram.low, histogram.high
    ([2, 4], 0.0, 1.0)
    """
    if tokens.ndim != 2 or len(tokens) < 2 or bins < 1:
        raise ValueError(
            f"distances need at least two tokens [n d] and one bin, got {list(tokens.shape)} and "
            f"{bins} bins"
        )
    if not tokens.isfinite().all():
        raise ValueError("distances need finite tokens, got NaN or infinite ones")
    unit = normalize(tokens.float(), dim=1)
    low, high = _range(unit) if scaled else (0.0, 2.0)
    counts = torch.zeros(bins, dtype=torch.int64)
    total = 0.0
    for begin in range(0, len(unit), _ROWS):
        pairs = _block(unit, begin)
        total += float(pairs.double().sum())
        counts += _counted(pairs, low, high, bins)
    return DistanceHistogram(counts, low, high, total / (len(unit) * (len(unit) - 1)))


def pair_distances(tokens: Float[Tensor, "n d"]) -> Float[Tensor, "p"]:
    """1 - cosine of all n (n - 1) / 2 pairs, within [0, 2].

    >>> pair_distances(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    tensor([0., 1., 1.])
    """
    unit = normalize(tokens, dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    return (1 - unit @ unit.T)[row, column].clamp(0, 2)


def _block(unit: Float[Tensor, "n d"], begin: int) -> Float[Tensor, "p"]:
    """The distances of some tokens to all others."""
    rows = unit[begin : begin + _ROWS]
    distances = (1 - rows @ unit.T).clamp(0, 2)
    place = torch.arange(len(rows), device=unit.device)
    other = torch.ones_like(distances, dtype=torch.bool)
    other[place, place + begin] = False
    return distances[other]


def _range(unit: Float[Tensor, "n d"]) -> tuple[float, float]:
    """The smallest and the largest distance."""
    blocks = [_block(unit, begin) for begin in range(0, len(unit), _ROWS)]
    return min(float(block.min()) for block in blocks), max(float(block.max()) for block in blocks)


def _counted(pairs: Float[Tensor, "p"], low: float, high: float, bins: int) -> Int[Tensor, "bins"]:
    """How many distances each bin has; where all are equal, the first bin has them."""
    if high <= low:
        return torch.bincount(torch.zeros(len(pairs), dtype=torch.int64), minlength=bins)
    place = ((pairs.double() - low) / (high - low) * bins).long().clamp(0, bins - 1)
    return torch.bincount(place, minlength=bins).cpu()

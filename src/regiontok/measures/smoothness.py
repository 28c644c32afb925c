"""Smoothness of patch features: cosines of neighbours, inside regions and across their borders, and
by distance.

After: the diagnostic study, section 4.1 (non-smoothness; finding 3; row D20), which shows PCA
pictures and gives no number.
Differs: the numbers are ours.

All cosines are taken in float64 with cos(0, 0) = 1 and cos(0, x) = 0, as `merge` has them. Edges
are pairs of 4-neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._directions import directions

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def smoothness_metrics(
    features: Float[Tensor, "h w d"], labels: Int[Tensor, "h w"] | None = None
) -> dict[str, float]:
    """Numbers of one view, with the cosine c of each edge and u = x / |x|.

    - `neighbour_cosine`: mean of c over all h (w - 1) + w (h - 1) edges.
    - `far_cosine`: mean cosine of all n (n - 1) / 2 pairs of patches, exact: (|sum u|^2 - n) / (n
    (n - 1)).
    - `neighbour_gain`: neighbour_cosine - far_cosine. 0 for noise of any mean; what neighbours
    share beyond what all patches share.
    - `total_variation`: mean of |u_i - u_j| = sqrt(2 - 2 c) over edges; 0 to 2, sqrt(2) for
    unrelated directions.
    - `inside_cosine`, `across_cosine`: mean of c over edges with equal and with different labels.
    - `border_contrast`: inside_cosine - across_cosine.
    - `border_auc`: P(c inside > c across) + P(equal) / 2 over pairs of such edges: free of scale;
    0.5 knows nothing of borders.

    Args:
        features: one view.
        labels: a region of each patch, of human or segmenter borders; edges of a negative label
            count on neither side.

    NaN where there is nothing to measure: no edge (a grid of one patch), no labels, no border.

    Raises:
        ValueError: not `[h w d]`, NaN or infinity, labels of another grid or not integer.
    """
    unit = directions(features)
    cosine = torch.cat([(a * b).sum(-1).flatten() for a, b in _edges(unit)])
    n = unit.shape[:2].numel()
    neighbour = _mean(cosine)
    far = float((unit.sum((0, 1)).square().sum() - n) / (n * (n - 1))) if n > 1 else math.nan
    return {
        "neighbour_cosine": neighbour,
        "far_cosine": far,
        "neighbour_gain": neighbour - far,
        "total_variation": _mean((2 - 2 * cosine).clamp(min=0).sqrt()),
        **_border(cosine, labels, unit.shape[:2]),
    }


def cosine_by_distance(features: Float[Tensor, "h w d"], distances: Sequence[int]) -> list[float]:
    """Mean cosine of all pairs of patches at Chebyshev distance max(|dy|, |dx|) = r, for each r:
    exact, no sampling.

    r = 0 gives 1; a distance that the grid does not have gives NaN. Reaches O(r h w d) at each r.

    Raises:
        ValueError: not `[h w d]`, NaN or infinity, a distance that is negative or no integer.

    >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> cosine_by_distance(features, [0, 1, 2, 3])
    [1.0, 0.5, 0.0, nan]
    """
    unit = directions(features)
    if wrong := [r for r in distances if not isinstance(r, int) or r < 0]:
        raise ValueError(f"distances are whole patches, 0 or more; got {wrong[0]!r}")
    return [_at_distance(unit, r) for r in distances]


def _at_distance(unit: Tensor, r: int) -> float:
    h, w = unit.shape[:2]
    if r == 0:
        return 1.0
    total, pairs = 0.0, 0
    half = [(r, dx) for dx in range(-r, r + 1)] + [
        (dy, r) for dy in range(1 - r, r)
    ]  # the other half are the same pairs
    for dy, dx in half:
        if abs(dy) >= h or abs(dx) >= w:
            continue
        here = unit[max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)]
        there = unit[max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)]
        total += float((here * there).sum())
        pairs += here.shape[:2].numel()
    return total / pairs if pairs else math.nan


def _edges(field: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(field[:, :-1], field[:, 1:]), (field[:-1], field[1:])]


def _border(cosine: Tensor, labels: Tensor | None, grid: tuple[int, ...]) -> dict[str, float]:
    inside = across = cosine[:0]
    if labels is not None:
        if tuple(labels.shape) != tuple(grid) or labels.is_floating_point():
            raise ValueError(
                f"expected whole-number labels {list(grid)}, got {labels.dtype} {list(labels.shape)}"
            )
        labels = labels.to(cosine.device)
        known = torch.cat([((a >= 0) & (b >= 0)).flatten() for a, b in _edges(labels)])
        equal = torch.cat([(a == b).flatten() for a, b in _edges(labels)])
        inside, across = cosine[known & equal], cosine[known & ~equal]
    return {
        "inside_cosine": _mean(inside),
        "across_cosine": _mean(across),
        "border_contrast": _mean(inside) - _mean(across),
        "border_auc": _auc(inside, across),
    }


def _auc(above: Tensor, below: Tensor) -> float:
    """P(above > below) + P(equal) / 2, by ranks."""
    if not len(above) or not len(below):
        return math.nan
    above, below = (
        torch.round(side * 2**20) for side in (above, below)
    )  # as in merge: the last bits decide nothing
    ranked = below.sort().values
    lower = torch.searchsorted(ranked, above).double()
    upper = torch.searchsorted(ranked, above, right=True).double()
    return float((lower + upper).mean() / (2 * len(below)))


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan

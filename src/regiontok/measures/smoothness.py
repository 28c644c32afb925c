"""Smoothness of patch features: cosines of neighbours, inside regions, across borders, by distance.

After: the diagnostic study, section 4.1 (non-smoothness; finding 3; row D20), which shows PCA
pictures and gives no number.
Differs: the numbers are ours.

All cosines are in float64 with cos(0, 0) = 1 and cos(0, x) = 0, as `merge` has them. Edges are
pairs of 4-neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._cosines import unit_vectors

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def smoothness_metrics(
    features: Float[Tensor, "h w d"], labels: Int[Tensor, "h w"] | None = None
) -> dict[str, float]:
    """Numbers of one view, with the cosine c of each edge and u = x / |x|.

    Args:
        features: features of one view.
        labels: a region of each patch, of human or segmenter borders; an edge with a negative label
            counts on neither side.

    Returns:
        Eight numbers, NaN where there is nothing to measure: no edge (a grid of one patch), no
        labels, no border.

        - `neighbour_cosine`: mean of c over all h (w - 1) + w (h - 1) edges.
        - `far_cosine`: mean cosine of all n (n - 1) / 2 pairs of patches, exact:
          (|sum u|^2 - n) / (n (n - 1)).
        - `neighbour_gain`: neighbour_cosine - far_cosine; 0 for noise of any mean: what neighbours
          share beyond what all patches share.
        - `total_variation`: mean of |u_i - u_j| = sqrt(2 - 2 c) over edges; 0 to 2, sqrt(2) for
          unrelated directions.
        - `inside_cosine`, `across_cosine`: mean of c over edges with equal and with different
          labels.
        - `border_contrast`: inside_cosine - across_cosine.
        - `border_auc`: P(c inside > c across) + P(equal) / 2 over pairs of such edges: free of
          scale; 0.5 knows nothing of borders.

    Raises:
        ValueError: If features are not `[h w d]`, or are NaN or infinite, or labels are of another
            grid or not integers.
    """
    unit = unit_vectors(features)
    cosine = torch.cat([(a * b).sum(-1).flatten() for a, b in _edges(unit)])
    n = unit.shape[:2].numel()
    neighbour_cosine, far_cosine = _mean(cosine), math.nan
    if n > 1:
        far_cosine = float((unit.sum((0, 1)).square().sum() - n) / (n * (n - 1)))
    return {
        "neighbour_cosine": neighbour_cosine,
        "far_cosine": far_cosine,
        "neighbour_gain": neighbour_cosine - far_cosine,
        "total_variation": _mean((2 - 2 * cosine).clamp(min=0).sqrt()),
        **_border_metrics(cosine, labels, unit.shape[:2]),
    }


def cosine_by_distance(features: Float[Tensor, "h w d"], distances: Sequence[int]) -> list[float]:
    """The mean cosine of all pairs of patches at each Chebyshev distance max(|dy|, |dx|) = r.

    It is exact, not sampled. r = 0 gives 1; a distance that the grid does not have gives NaN. The
    cost of each r is O(r h w d).

    Raises:
        ValueError: If features are not `[h w d]`, or are NaN or infinite, or a distance is negative
            or no integer.

    >>> features = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> cosine_by_distance(features, [0, 1, 2, 3])
    [1.0, 0.5, 0.0, nan]
    """
    unit = unit_vectors(features)
    if wrong := [r for r in distances if not isinstance(r, int) or r < 0]:
        raise ValueError(f"distances are whole patches, 0 or more; got {wrong[0]!r}")
    return [_cosine_at_distance(unit, r) for r in distances]


def _cosine_at_distance(unit: Float[Tensor, "h w e"], r: int) -> float:
    """The mean cosine of all pairs at one distance."""
    h, w = unit.shape[:2]
    if r == 0:
        return 1.0
    total, pairs = 0.0, 0
    # Half of the offsets: the other half gives the same pairs.
    offsets = [(r, dx) for dx in range(-r, r + 1)] + [(dy, r) for dy in range(1 - r, r)]
    for dy, dx in offsets:
        if abs(dy) >= h or abs(dx) >= w:
            continue
        patches = unit[max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)]
        partners = unit[max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)]
        total += float((patches * partners).sum())
        pairs += patches.shape[:2].numel()
    return total / pairs if pairs else math.nan


def _edges(field: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The two ends of all edges along the rows, and along the columns."""
    return [(field[:, :-1], field[:, 1:]), (field[:-1], field[1:])]


def _border_metrics(
    cosine: Float[Tensor, "e"], labels: Int[Tensor, "h w"] | None, grid: tuple[int, ...]
) -> dict[str, float]:
    """The numbers of edges inside regions and across their borders."""
    inside = across = cosine[:0]
    if labels is not None:
        if tuple(labels.shape) != tuple(grid) or labels.is_floating_point():
            raise ValueError(
                f"expected whole-number labels {list(grid)}, got {labels.dtype} "
                f"{list(labels.shape)}"
            )
        labels = labels.to(cosine.device)
        labelled = torch.cat([((a >= 0) & (b >= 0)).flatten() for a, b in _edges(labels)])
        equal = torch.cat([(a == b).flatten() for a, b in _edges(labels)])
        inside, across = cosine[labelled & equal], cosine[labelled & ~equal]
    return {
        "inside_cosine": _mean(inside),
        "across_cosine": _mean(across),
        "border_contrast": _mean(inside) - _mean(across),
        "border_auc": _auc(inside, across),
    }


def _auc(above: Float[Tensor, "i"], below: Float[Tensor, "j"]) -> float:
    """P(above > below) + P(equal) / 2, by ranks."""
    if not len(above) or not len(below):
        return math.nan
    # Rounded as in `merge`: the last bits decide nothing.
    above, below = (torch.round(side * 2**20) for side in (above, below))
    ordered = below.sort().values
    lower = torch.searchsorted(ordered, above).double()
    upper = torch.searchsorted(ordered, above, right=True).double()
    return float((lower + upper).mean() / (2 * len(below)))


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan

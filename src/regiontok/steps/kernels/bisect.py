"""Halving segments along the direction in which their features vary most.

After: Boley 1998, principal direction divisive partitioning: the segment of largest scatter (sum of
squared distances to its mean) is cut at its mean, across its principal direction, until there are
enough.
Differs: the direction is that of 32 power iterations, from the point farthest from the mean. Points
whose features are all equal are halved in their order.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

ITERATIONS = 32
# Scatter of a segment, over that of its values, that is nothing but rounding in float64.
ROUNDING = 1e-12


def bisected(label: Int[Tensor, "m"], points: Float[Tensor, "m d"], least: int) -> Int[Tensor, "m"]:
    """Labels with at least so many segments; the two halves of a segment begin where it began.

    Args:
        label: the segment of each point, named by one of its points.
        points: features of the points.
        least: how many segments there are to be.

    Returns:
        For each point the first point of its segment.

    Raises:
        ValueError: If there are fewer points.

    >>> bisected(torch.tensor([0, 0, 0, 0]), torch.tensor([[0.0], [5], [0], [6]]), 3).tolist()
    [0, 1, 0, 3]
    """
    if least > len(label):
        raise ValueError(f"{len(label)} patches cannot become {least} regions")
    rows = points.double()
    segments = [(label == name).nonzero()[:, 0] for name in label.unique()]
    single = [members for members in segments if len(members) == 1]
    # the largest scatter first; of equal ones that of the first point
    heap = [_entry(rows, members) for members in segments if len(members) > 1]
    heapq.heapify(heap)
    while len(heap) + len(single) < least:
        _, _, members = heapq.heappop(heap)
        side = _side(rows[members])
        for half in (members[side], members[~side]):
            if len(half) == 1:
                single.append(half)
            else:
                heapq.heappush(heap, _entry(rows, half))
    result = label.clone()
    for members in (*single, *(members for _, _, members in heap)):
        result[members] = members[0]
    return result


def _entry(rows: Float[Tensor, "m d"], members: Int[Tensor, "p"]) -> tuple[float, int, Tensor]:
    """What a heap orders segments by, and the segment's points."""
    return -_scatter(rows[members]), int(members[0]), members


def _scatter(rows: Float[Tensor, "p d"]) -> float:
    scatter = float((rows - rows.mean(0)).square().sum())
    return 0.0 if scatter <= ROUNDING * float(rows.square().sum()) else scatter


def _side(rows: Float[Tensor, "p d"]) -> Bool[Tensor, "p"]:
    """On which side of the mean each row lies; there is one on either side at least."""
    if _scatter(rows) > 0:
        centred = rows - rows.mean(0)
        direction = centred[centred.square().sum(1).argmax()]
        for _ in range(ITERATIONS):
            direction = torch.nn.functional.normalize(centred.T @ (centred @ direction), dim=0)
        side = centred @ direction > 0
        if bool(side.any()) and not bool(side.all()):
            return side
    return torch.arange(len(rows), device=rows.device) < len(rows) // 2

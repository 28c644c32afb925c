"""First centres by a clustering of two levels: some clusters, then centres within each.

After: hierarchical k-means (RICE, section 3.1, row R1, which says no more of it).
Differs: a cluster gets children by its squared error, not by its size, and they only start the flat
iterations. On photos random rows are as good at the same time; on clusters of very different size
that lie far apart the tree ended 3 % lower.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.kmeans.lloyd import lloyd
from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import ArrayRows, Rows
from regiontok.kmeans.start import TooFewDistinctRows, digests, random_rows
from regiontok.kmeans.workers import Workers

if TYPE_CHECKING:
    from jaxtyping import Float, Int

UPPER, LOWER = 4, 3  # iterations of the two levels


def tree_rows(
    rows: Rows, k: int, seed: int, workers: Workers | None = None
) -> Float[np.ndarray, "k d"]:
    """`k` centres of two levels.

    Args:
        rows: what is clustered.
        k: number of centres; about its square root is that of the upper level.
        seed: from which rows are drawn.
        workers: who sums on the upper level; the lower one is done in this process.

    Raises:
        TooFewDistinctRows: If there are fewer distinct rows than centres.
    """
    upper = random_rows(rows, max(1, round(k**0.5)), seed)
    for iteration in lloyd(rows, upper, UPPER, workers=workers):
        upper = iteration.centres
    clusters, squares, distinct = _assigned(rows, upper)
    if int(distinct.sum()) < k:
        raise TooFewDistinctRows(len(rows), int(distinct.sum()), k)
    children = share_out(k, squares.tolist(), distinct.tolist())
    order = clusters.argsort(kind="stable")
    stops = np.bincount(clusters, minlength=len(upper)).cumsum()
    centres = []
    for cluster, count in enumerate(children):
        if count:
            start = stops[cluster - 1] if cluster else 0
            members = ArrayRows(rows.take(order[start : stops[cluster]]))
            lower = random_rows(members, count, [seed, cluster])
            for iteration in lloyd(members, lower, LOWER):
                lower = iteration.centres
            centres.append(lower)
    return np.concatenate(centres)


def share_out(k: int, weights: Sequence[float], most: Sequence[int]) -> list[int]:
    """Share `k` children among clusters by weight; none gets more than its most.

    A cluster that may have children has one at least where there are enough; each further one goes
    to the highest weight for each child so far, the first of equals.

    >>> share_out(6, [5.0, 1.0, 0.0], [9, 9, 9])
    [4, 1, 1]
    >>> share_out(4, [5.0, 1.0], [2, 9])
    [2, 2]
    """
    children = [0] * len(weights)
    # before it has a child, a cluster comes before all that have one, the heavier first
    waiting = [(0, -weight, number) for number, weight in enumerate(weights) if most[number]]
    heapq.heapify(waiting)
    for _ in range(k):
        _, _, number = heapq.heappop(waiting)
        children[number] += 1
        if children[number] < most[number]:
            heapq.heappush(waiting, (1, -weights[number] / children[number], number))
    return children


def _assigned(
    rows: Rows, centres: Float[np.ndarray, "K d"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "K"], Int[np.ndarray, "K"]]:
    """The cluster of each row; the squared error and the distinct rows of each cluster."""
    nearest = NearestCentres(torch.from_numpy(centres))
    clusters = np.empty(len(rows), np.int64)
    names = np.empty(len(rows), np.uint64)
    squares = np.zeros(len(centres))
    for number, part in enumerate(rows):
        place = slice(number * rows.part, number * rows.part + len(part))
        assigned = nearest(torch.from_numpy(part))
        clusters[place], names[place] = assigned.ids[:, 0], digests(part)
        squares += np.bincount(clusters[place], assigned.squares[:, 0], minlength=len(centres))
    _, first = np.unique(names, return_index=True)  # equal rows are in one cluster
    return clusters, squares, np.bincount(clusters[first], minlength=len(centres))

"""k-means: every row goes to its nearest centre, every centre to the mean of its rows, again.

After: Lloyd 1982, with empty clusters split off the heaviest as faiss does (its factors are 1 +-
1/1024; written from the description).
Differs: of several heaviest the first is split, where faiss draws one, so that nothing depends on
chance after the start. Assignments are exact and sums are whole numbers: any number of processes
gives the same centres, byte for byte.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.kmeans.rows import Rows
from regiontok.kmeans.workers import Tell, ThisProcess, Workers

if TYPE_CHECKING:
    from jaxtyping import Float, Int

APART = 1 / 1024  # by this share of each value, up and down, the halves of a centre differ


@dataclass(frozen=True, eq=False)
class Iteration:
    """What an iteration has given.

    Attributes:
        number: how many iterations there have been.
        centres: `[K d]` float32 the new centres.
        counts: `[K]` int64 rows of each centre, as the iteration found them.
        inertia: mean squared distance of the rows from the centres before.
        empty: how many centres had no row, and were split off others.
    """

    number: int
    centres: Float[np.ndarray, "K d"]
    counts: Int[np.ndarray, "K"]
    inertia: float
    empty: int


def lloyd(
    rows: Rows,
    centres: Float[np.ndarray, "K d"],
    iterations: int,
    *,
    workers: Workers | None = None,
    after: int = 0,
    tell: Tell = lambda parts: None,
) -> Iterator[Iteration]:
    """The iterations that are missing, one by one.

    Args:
        rows: what is clustered.
        centres: the centres to go on from.
        iterations: how many there shall be, with those before.
        workers: who sums; None is this process.
        after: how many there have been.
        tell: is called with the number of parts that have been done.

    >>> from regiontok.kmeans.rows import ArrayRows
    >>> rows = ArrayRows(np.array([[0.0], [0.1], [0.9], [1.0]], np.float32))
    >>> *_, last = lloyd(rows, np.array([[0.0], [0.1]], np.float32), 3)
    >>> last.centres.round(3).tolist(), last.counts.tolist(), round(last.inertia, 4)
    ([[0.05000000074505806], [0.949999988079071]], [2, 2], 0.0025)
    """
    workers = workers or ThisProcess()
    for number in range(after + 1, iterations + 1):
        sums = workers.sums(rows, centres, tell)
        centres = sums.means()
        empty = split_heaviest(centres, sums.counts)
        yield Iteration(number, centres, sums.counts, sums.inertia, empty)


def split_heaviest(centres: Float[np.ndarray, "K d"], counts: Int[np.ndarray, "K"]) -> int:
    """Give each empty centre half of the heaviest one, in place; says how many were empty.

    >>> centres = np.array([[1024.0, 1024.0], [0.0, 0.0]], np.float32)
    >>> split_heaviest(centres, np.array([7, 0])), centres.tolist()
    (1, [[1023.0, 1025.0], [1025.0, 1023.0]])
    """
    empty = np.flatnonzero(counts == 0).tolist()
    heaviest = [(-count, number) for number, count in enumerate(counts.tolist()) if count]
    heapq.heapify(heaviest)
    signs = np.where(np.arange(centres.shape[1]) % 2, -1, 1) * np.float32(APART)
    for number in empty:
        weight, parent = heaviest[0]
        centres[number] = centres[parent] * (1 + signs)
        centres[parent] *= 1 - signs
        heapq.heapreplace(heaviest, (weight / 2, parent))
        heapq.heappush(heaviest, (weight / 2, number))
    return len(empty)

"""A rank's batches of views, read by its workers; each worker keeps to its own lanes.

Differs: torch's DataLoader gives whole batches to workers in turn, so that each of them meets every
lane. Here a batch is cut into as many pieces as there are workers, by lane, and put together where
it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from regiontok.shards.batch import RegionBatch, collate, joined_batches
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import View

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class _Pieces:
    """The pieces of one rank's part of every step, as lists of positions.

    Attributes:
        views: the stream.
        steps: the positions of each step, over all ranks.
        rank: number of this process.
        ranks: number of processes.
        pieces: pieces of each step.
    """

    views: ShardViews
    steps: Iterable[range]
    rank: int
    ranks: int
    pieces: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            positions = self.views.order.part(step.start, len(step), self.rank, self.ranks)
            for piece in np.array_split(positions, self.pieces):
                yield piece.tolist()


def load_parts(
    views: ShardViews,
    steps: Sequence[range],
    collate_views: Callable[[Sequence[View]], Batch],
    join: Callable[[Sequence[Batch]], Batch],
    *,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pin: bool = False,
    begin: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """One rank's part of some steps, in order.

    Nothing is drawn from torch's random state.

    Args:
        views: the stream.
        steps: the positions of each step, over all ranks, all of one length.
        collate_views: makes a piece of a batch of its views, in a worker.
        join: makes a batch of its pieces.
        rank: number of this process.
        ranks: number of processes.
        workers: processes that read; 0 reads in this one. No more are used than a rank has images.
        pin: put pieces into page-locked memory.
        begin: called first in each worker, with its number.

    Raises:
        ValueError: If the ranks cannot share a step evenly.
    """
    if not steps:
        return iter(())
    share = len(views.order.part(steps[0].start, len(steps[0]), rank, ranks))
    pieces = min(max(workers, 1), share)
    loader = DataLoader(
        views,
        batch_sampler=_Pieces(views, steps, rank, ranks, pieces),
        collate_fn=collate_views,
        num_workers=min(workers, pieces),
        pin_memory=pin,
        worker_init_fn=begin,
        generator=torch.Generator(),  # workers' seeds come from here, not from training's state
    )
    return _joined(iter(loader), pieces, join)


def _joined(
    loaded: Iterator[Batch], pieces: int, join: Callable[[Sequence[Batch]], Batch]
) -> Iterator[Batch]:
    while group := [*islice(loaded, pieces)]:
        yield join(group) if pieces > 1 else group[0]


def load_steps(
    views: ShardViews,
    *,
    batch: int,
    start: int,
    stop: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[RegionBatch]:
    """One rank's part of the steps from `start` to `stop` - 1, in order.

    Step t has the positions t * batch to (t + 1) * batch - 1; see `load_parts`.

    Args:
        views: the stream.
        batch: images of a step, over all ranks.
        start: the first step.
        stop: the step behind the last one.
        rank: number of this process.
        ranks: number of processes.
        workers: processes that read; 0 reads in this one.
        pin: put pieces into page-locked memory.

    Raises:
        ValueError: If the ranks cannot share a batch evenly.
    """
    steps = [range(step * batch, (step + 1) * batch) for step in range(start, stop)]
    return load_parts(
        views,
        steps,
        collate,
        joined_batches,
        rank=rank,
        ranks=ranks,
        workers=workers,
        pin=pin,
    )

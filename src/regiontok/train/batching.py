"""A stage's batch, divided into processes and passes; and the order in which a process meets its
samples, from any step on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Division:
    """How the samples of one optimiser step are divided.

    Attributes:
        world: processes.
        each: samples (rows, where several are packed) of one forward and backward in one process.
        accumulate: forward and backward passes before the optimiser's step.
    """

    world: int
    each: int
    accumulate: int

    @property
    def batch(self) -> int:
        """Samples an optimiser step."""
        return self.world * self.each * self.accumulate

    def parts(self, batch: list[Any], rank: int) -> list[list[Any]]:
        """The micro-batches of one process out of the samples of one step.

        >>> Division(world=2, each=1, accumulate=2).parts([10, 11, 12, 13], rank=1)
        [[11], [13]]
        """
        size = self.world * self.each
        starts = range(rank * self.each, len(batch), size)
        return [batch[start : start + self.each] for start in starts]


def divide(batch: int, *, world: int = 1, largest: int) -> Division:
    """The fewest passes that hold at most `largest` samples each; the batch is met exactly.

    Raises:
        ValueError: a batch that the processes cannot share equally.

    >>> divide(128, world=4, largest=12)
    Division(world=4, each=8, accumulate=4)
    """
    if largest < 1:
        raise ValueError(f"a device takes at least one sample, got {largest}")
    if batch % world:
        raise ValueError(
            f"a batch of {batch} cannot be shared equally by {world} processes: choose a multiple of {world}"
        )
    own = batch // world
    each = max(size for size in range(1, min(largest, own) + 1) if own % size == 0)
    return Division(world, each, own // each)


class Order:
    """The samples of this process, micro-batch by micro-batch, from any step on: a batch sampler of
    `DataLoader`.

    Args:
        batches: step -> the rows of the whole step.
        steps: of the stage.
        division: see `Division`.
        rank: of this process.
        start: the first step.
    """

    def __init__(
        self,
        batches: Callable[[int], list[Any]],
        steps: int,
        division: Division,
        rank: int,
        start: int = 0,
    ) -> None:
        self.batches, self.steps, self.division, self.rank, self.start = (
            batches,
            steps,
            division,
            rank,
            start,
        )

    def __iter__(self) -> Iterator[list[Any]]:
        for step in range(self.start, self.steps):
            yield from self.division.parts(self.batches(step), self.rank)

    def __len__(self) -> int:
        """Of the whole stage, also after a resume: Trainer counts epochs by it."""
        return self.steps * self.division.accumulate

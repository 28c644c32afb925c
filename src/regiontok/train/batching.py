"""How a step's batch is divided among processes and passes, and in which order samples come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Division:
    """How the samples of one optimiser step are divided.

    Attributes:
        processes: how many processes share the step.
        per_device: samples (rows, where several are packed) of one pass in one process.
        accumulate: forward and backward passes before the optimiser's step.
    """

    processes: int
    per_device: int
    accumulate: int

    @property
    def batch(self) -> int:
        """Samples of one optimiser step."""
        return self.processes * self.per_device * self.accumulate

    def micro_batches(self, batch: list[Any], rank: int) -> list[list[Any]]:
        """The micro-batches of one process out of the samples of one step.

        >>> Division(processes=2, per_device=1, accumulate=2).micro_batches([10, 11, 12, 13], 1)
        [[11], [13]]
        """
        stride = self.processes * self.per_device
        starts = range(rank * self.per_device, len(batch), stride)
        return [batch[start : start + self.per_device] for start in starts]


def divide_batch(batch: int, *, processes: int = 1, most_per_device: int) -> Division:
    """The division with the fewest passes; the batch is met exactly.

    Args:
        batch: samples of one optimiser step.
        processes: how many processes share them.
        most_per_device: samples that one pass may hold at most.

    Raises:
        ValueError: If the processes cannot share the batch equally, or a pass may hold no sample.

    >>> divide_batch(128, processes=4, most_per_device=12)
    Division(processes=4, per_device=8, accumulate=4)
    """
    if most_per_device < 1:
        raise ValueError(f"a device takes at least one sample, got {most_per_device}")
    if batch % processes:
        raise ValueError(
            f"a batch of {batch} cannot be shared equally by {processes} processes: "
            f"choose a multiple of {processes}"
        )
    share = batch // processes
    sizes = range(1, min(most_per_device, share) + 1)
    per_device = max(size for size in sizes if share % size == 0)
    return Division(processes, per_device, share // per_device)


class BatchOrder:
    """The samples of this process, micro-batch by micro-batch: a batch sampler for `DataLoader`.

    Args:
        rows_of_step: a function from a step to the rows of the whole step.
        steps: steps of the stage.
        division: how a step's rows are divided.
        rank: the number of this process.
        start: the first step.
    """

    def __init__(
        self,
        rows_of_step: Callable[[int], list[Any]],
        steps: int,
        division: Division,
        rank: int,
        start: int = 0,
    ) -> None:
        self.rows_of_step, self.steps, self.division = rows_of_step, steps, division
        self.rank, self.start = rank, start

    def __iter__(self) -> Iterator[list[Any]]:
        for step in range(self.start, self.steps):
            yield from self.division.micro_batches(self.rows_of_step(step), self.rank)

    def __len__(self) -> int:
        """Micro-batches of the whole stage, also after a resume: Trainer counts epochs by it."""
        return self.steps * self.division.accumulate

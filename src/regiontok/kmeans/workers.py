"""Who sums the parts of an iteration: this process, several, or those that torchrun started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
import torch.distributed as dist

from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import Rows
from regiontok.kmeans.sums import Sums, sum_part
from regiontok.system.workers import worker_processes

if TYPE_CHECKING:
    from jaxtyping import Float

Tell = Callable[[int], None]  # is called with the number of parts that have been summed
SHARES = 4  # of a worker: each comes back as one table of sums
REDUCED = 1 << 24  # numbers that ranks add at once, of which they hold a copy


class Workers(ABC):
    """How the rows of an iteration are assigned and summed."""

    @abstractmethod
    def sums(
        self, rows: Rows, centres: Float[np.ndarray, "K d"], tell: Tell = lambda parts: None
    ) -> Sums:
        """The sums over all parts, the same whoever computes them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  # most have started nothing
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what was started."""


@dataclass(frozen=True)
class ThisProcess(Workers):
    """One part after the other.

    Attributes:
        device: where products are computed.
    """

    device: str = "cpu"

    def sums(
        self, rows: Rows, centres: Float[np.ndarray, "K d"], tell: Tell = lambda parts: None
    ) -> Sums:
        """The sums over all parts."""
        return _sums_of(rows, range(rows.parts), centres, self.device, tell)


class Processes(Workers):
    """Worker processes, one thread each, which stay until the `with` block of it ends.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._processes = worker_processes(count, torch.set_num_threads, 1)

    def __enter__(self) -> Self:
        """Start them."""
        self._pool = self._processes.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the processes end.

        Raises:
            WorkerDied: If a process was killed.
        """
        self._processes.__exit__(kind, error, trace)

    def sums(
        self, rows: Rows, centres: Float[np.ndarray, "K d"], tell: Tell = lambda parts: None
    ) -> Sums:
        """The sums over all parts.

        Raises:
            BrokenProcessPool: If a process was killed; the end of the block makes it `WorkerDied`.
        """
        total = Sums.zero(*centres.shape)
        shares = min(self.count * SHARES, rows.parts)
        numbers = [range(share, rows.parts, shares) for share in range(shares)]
        futures = {self._pool.submit(_sums_of, rows, parts, centres): parts for parts in numbers}
        for future in as_completed(futures):
            total.add(future.result())
            tell(len(futures.pop(future)))  # its sums are let go
        return total


@dataclass(frozen=True)
class AllRanks(Workers):
    """The processes of torchrun, which all call this and all get the sums; parts are dealt out.

    Attributes:
        device: where products are computed; sums are added by the group's own backend for it.
    """

    device: str = "cpu"

    def sums(
        self, rows: Rows, centres: Float[np.ndarray, "K d"], tell: Tell = lambda parts: None
    ) -> Sums:
        """The sums over all parts."""
        rank, world = dist.get_rank(), dist.get_world_size()
        sums = _sums_of(rows, range(rank, rows.parts, world), centres, self.device, tell)
        for table in sums.tables:
            for numbers in torch.from_numpy(table).view(-1).split(REDUCED):
                on_device = numbers.to(self.device)
                dist.all_reduce(on_device)
                numbers.copy_(on_device)
        return sums


def _sums_of(
    rows: Rows,
    parts: range,
    centres: Float[np.ndarray, "K d"],
    device: str = "cpu",
    tell: Tell = lambda parts: None,
) -> Sums:
    """The sums over some parts."""
    nearest = NearestCentres(torch.from_numpy(centres), device=device)
    sums = Sums.zero(*centres.shape)
    for number in parts:
        sum_part(rows, number, nearest, sums)
        tell(1)
    return sums

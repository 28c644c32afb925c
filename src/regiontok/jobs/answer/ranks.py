"""The processes that torchrun or accelerate started, which share the questions of one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")
_PATIENCE = timedelta(days=2)  # for the slowest share; of a process that fails, the launcher knows


@dataclass(frozen=True)
class Ranks:
    """This process among those of one launch.

    Attributes:
        rank: its number.
        count: how many there are.
        local: its number on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def of_environment(cls) -> Ranks:
        """What the launcher's environment variables say; one process without any."""
        names = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        return cls(*(int(os.environ.get(name, default)) for name, default in names))

    def device(self, name: str) -> str:
        """The device of this process: its own GPU where there are several processes."""
        several = self.count > 1 and name in ("cuda", "auto")
        return f"cuda:{self.local}" if several and _has_gpus() else name

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the processes over gloo, so that they can wait for each other."""
        if self.count == 1:
            yield
            return
        import torch.distributed as dist

        dist.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield
        finally:
            dist.destroy_process_group()

    def first_before_others(self, work: Callable[[], T]) -> T:
        """What `work` gives, done by the first process before all others.

        Processes that were not joined do not wait.
        """
        if self.rank:
            self._wait()
        result = work()
        if not self.rank:
            self._wait()
        return result

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, which all come here; its own where they were not joined."""
        if not self._is_joined:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    @property
    def _is_joined(self) -> bool:
        if self.count == 1:
            return False
        import torch.distributed as dist

        return dist.is_initialized()

    def _wait(self) -> None:
        if self._is_joined:
            import torch.distributed as dist

            dist.barrier()


def _has_gpus() -> bool:
    import torch

    return torch.cuda.is_available()

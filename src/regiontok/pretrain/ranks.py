"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from regiontok.system.errors import RegiontokError


class FirstProcessFailed(RegiontokError, RuntimeError):
    """The first process could not do what the others wait for; the message is its error's."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: the number of this process.
        world: how many processes there are.
        device: the device of this process.
        mesh: the mesh of all processes; None for a single one.
        checkpoint_group: a process group of its own for checkpoints, which are written beside
            training; None for a single process.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None
    checkpoint_group: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """True in the process that does what must be done once."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.mesh is not None:
            dist.barrier()

    def on_any(self, condition: bool) -> bool:
        """True on every rank if the condition holds on one of them."""
        if self.mesh is None:
            return condition
        flag = torch.tensor(float(condition), device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag > 0)

    def from_first(self, work: Callable[[], str]) -> str:
        """The text that `work` gives in the first process, in all of them.

        Raises:
            FirstProcessFailed: In the others, if it raised an error in the first, where that error
                goes on.
        """
        if self.mesh is None:
            return work()
        failure: Exception | None = None
        answer: dict[str, str] = {}
        if self.is_first:
            try:
                answer = {"text": work()}
            except Exception as error:  # the others wait: they have to hear of any
                failure, answer = error, {"error": str(error)}
        answer = json.loads(_broadcast(json.dumps(answer).encode()))
        if failure:
            raise failure
        if "error" in answer:
            raise FirstProcessFailed(answer["error"])
        return answer["text"]

    def all_written(self, written: bool) -> bool:
        """True on every rank if all of them have written; asked in the thread that writes."""
        if self.checkpoint_group is None:
            return written
        flag = torch.tensor(float(written))
        dist.all_reduce(flag, dist.ReduceOp.MIN, group=self.checkpoint_group)
        return bool(flag > 0)


@contextmanager
def join_ranks(device: str = "auto", *, timeout: float = 30.0) -> Iterator[Ranks]:
    """Join the processes that torchrun's environment names; they part when the block ends.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        timeout: minutes after which a process that waits for others gives up.
    """
    rank, world, local_rank = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    own_device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(own_device)
    if world == 1:
        yield Ranks(0, 1, own_device)
        return
    patience = timedelta(minutes=timeout)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=patience)
    try:
        checkpoint_group = dist.new_group(backend="gloo", timeout=patience)
        assert isinstance(checkpoint_group, dist.ProcessGroup)  # every process is in it
        mesh = init_device_mesh(own_device.type, (world,))
        yield Ranks(rank, world, own_device, mesh, checkpoint_group)
        # destroying a group that others still use is an error there; after an error here nobody is
        # waited for
        dist.barrier()
    finally:
        dist.destroy_process_group()


def default_workers(device: torch.device) -> int:
    """Processes that read for each rank, where nobody says.

    On a GPU the cores of this machine are shared by its ranks, and one core of each is left to the
    rank itself; on a CPU the encoder needs them all.
    """
    if device.type != "cuda":
        return 0
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, len(os.sched_getaffinity(0)) // local_ranks - 1)


def _broadcast(data: bytes) -> bytes:
    """The first process's bytes, in all of them."""
    length = torch.tensor(len(data))
    dist.broadcast(length, 0)
    values = torch.frombuffer(bytearray(data.ljust(int(length))[: int(length)]), dtype=torch.uint8)
    dist.broadcast(values, 0)
    return values.numpy().tobytes()

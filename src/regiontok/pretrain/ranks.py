"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank, world: of this process, and how many there are.
        device: of this process.
        mesh: of all of them; None for one.
        saving: a group of its own for checkpoints, which are written beside training; None for one
            process.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None
    saving: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """True where what is written or said should be so once."""
        return self.rank == 0

    def wait(self) -> None:
        """For all of them."""
        if self.mesh is not None:
            dist.barrier()

    def anywhere(self, here: bool) -> bool:
        """True on every rank if it is so on any."""
        if self.mesh is None:
            return here
        told = torch.tensor(float(here), device=self.device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told > 0)


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """The processes of this run, as torchrun's environment says; they part when the block ends.

    Args:
        device: "cpu", or "auto" for a GPU where there is one.
    """
    rank, world, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    cuda = device != "cpu" and torch.cuda.is_available()
    here = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(here)
    if world == 1:
        yield Ranks(0, 1, here)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        saving = dist.new_group(backend="gloo")
        assert isinstance(saving, dist.ProcessGroup)  # every process is in it
        yield Ranks(rank, world, here, init_device_mesh(here.type, (world,)), saving)
        # destroying a group that others still use is an error there; after an error here nobody is
        # waited for
        dist.barrier()
    finally:
        dist.destroy_process_group()

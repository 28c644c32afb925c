"""What the ranks that share class centres exchange: rows, regions and sums.

Every function takes the one-dimensional mesh of those ranks, or None for one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

if TYPE_CHECKING:
    from jaxtyping import Float


def sharded(local: Tensor, rows: int, mesh: DeviceMesh | None) -> Tensor:
    """A rank's rows out of `rows` as a DTensor, Shard(0); without a mesh as they are."""
    if mesh is None:
        return local
    shape = torch.Size((rows, *local.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def gathered(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The values of all ranks laid end to end; every rank brings as many."""
    if mesh is None:
        return values
    whole = values.new_empty(len(values) * mesh.size(), *values.shape[1:])
    dist.all_gather_into_tensor(whole, values.contiguous(), group=mesh.get_group())
    return whole


def summed(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The sum of the values of all ranks, in place."""
    if mesh is not None:
        dist.all_reduce(values, group=mesh.get_group())
    return values


def largest(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The largest of the values of all ranks, each by itself, in place."""
    if mesh is not None:
        dist.all_reduce(values, dist.ReduceOp.MAX, group=mesh.get_group())
    return values


def scattered(values: Float[Tensor, "N d"], mesh: DeviceMesh | None) -> Float[Tensor, "n d"]:
    """This rank's part of the sum over all ranks, in the order in which `gathered` lays them."""
    if mesh is None:
        return values
    local = values.new_empty(len(values) // mesh.size(), *values.shape[1:])
    dist.reduce_scatter_tensor(local, values, group=mesh.get_group())
    return local

"""Rows sent in bfloat16: two ranks are one process, and positives are met in full precision."""

from __future__ import annotations

import multiprocessing
import os
import socket

import torch
import torch.distributed as dist

from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives

HEADS = [
    ClassHead("object", 31, RegionLoss(), Negatives("both", rho=0.4)),
    ClassHead("text", 3, RegionLoss("softmax", scale=20.0), Negatives("uniform", rho=1.0)),
]


def figures(mesh, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Loss, positive cosines and the gradients of this rank's regions and centres."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 16, generator=draw)
    labels = {
        "object": torch.randint(-1, 31, (8, 1), generator=draw),
        "text": torch.randint(-1, 3, (8, 2), generator=draw),
    }
    own = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
    centres = ClassCentres(HEADS, 16, mesh=mesh, averaged=False, products=torch.bfloat16)
    regions = rows[own].clone().requires_grad_()
    result = centres(regions, {name: table[own] for name, table in labels.items()}, 0)
    result.loss.backward()
    told = {"loss": result.loss.detach(), "regions": regions.grad}
    for name, head in result.heads.items():
        gradient = centres.gradients[name]
        whole = torch.zeros(centres.head(name).classes, 16)
        first = centres.span(name)[0]
        whole[first + gradient.rows] = gradient.values
        told |= {f"{name} cosine": head.positive, f"{name} centres": whole}
    return told


def of_one(rank: int, port: str, queue) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    told = figures(mesh, rank, 2)
    queue.put((rank, {name: values.tolist() for name, values in told.items()}))
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_that_send_bfloat16_are_one_process():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=of_one, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    told = dict(queue.get(timeout=20) for _ in processes)
    for process in processes:
        process.join(10)
    first, second = (
        {name: torch.tensor(values) for name, values in told[rank].items()} for rank in range(2)
    )
    whole = figures(None, 0, 1)
    regions = torch.cat([first["regions"], second["regions"]])
    # each rank's part of a region's gradient is rounded to bfloat16, and the parts are added
    assert torch.allclose(regions, whole["regions"], atol=0.01)
    for name in ("loss", "object cosine", "text cosine"):
        assert torch.allclose(first[name], whole[name], atol=1e-6), name
        assert torch.equal(first[name], second[name]), name
    for name in ("object centres", "text centres"):
        assert torch.allclose(first[name] + second[name], whole[name], atol=1e-6), name


def test_a_positive_is_met_in_full_precision():
    """The cosine of the very centre is 1, which bfloat16 rows would miss by some 1e-3."""
    centres = ClassCentres(HEADS[:1], 16, products=torch.bfloat16)
    rows = centres.local("object")[[4, 7]].clone()
    result = centres(rows, {"object": torch.tensor([4, 7])}, 0)
    assert torch.allclose(result.heads["object"].positive, torch.ones(()), atol=1e-6)

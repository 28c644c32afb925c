"""What `--dry-run` says class centres take is what a rank's tensors take, within a tenth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from regiontok.pretrain.centre_memory import HeadLoad, centre_memory
from regiontok.pretrain.plan import head_loads, plan_stages
from regiontok.rice import rank_share
from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives
from regiontok.rice.row_adam import RowAdam
from regiontok.settings.recipe import load_recipe
from regiontok.system.hardware import hardware
from samples.counted_bytes import CountedBytes


@contextmanager
def first_of(ranks: int) -> Iterator[DeviceMesh | None]:
    """The mesh of the first of so many ranks, whose exchanges move nothing but have their sizes."""
    if ranks == 1:
        yield None
        return
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield init_device_mesh("cpu", (ranks,))
    finally:
        dist.destroy_process_group()


def counted(loads: list[HeadLoad], *, width: int, ranks: int, in_bfloat16: bool) -> int:
    """The most bytes of a rank's tensors in one step of its centres."""
    share = sum(load.regions for load in loads) // ranks
    generator = torch.Generator().manual_seed(0)
    labels = {}
    for number, load in enumerate(loads):
        table = torch.randint(load.head.classes, (share, load.slots), generator=generator)
        table[torch.arange(share) % len(loads) != number] = -1
        labels[load.head.name] = table
    with first_of(ranks) as mesh, CountedBytes() as count:
        products = torch.bfloat16 if in_bfloat16 else None
        heads = [load.head for load in loads]
        centres = ClassCentres(heads, width, mesh=mesh, products=products)
        optimizer = RowAdam(centres)
        count.most = 0
        regions = torch.randn(share, width, generator=generator).requires_grad_()
        centres(regions, labels, step=3).loss.backward()
        optimizer.step()
    return count.most


@pytest.mark.parametrize(
    ("ranks", "width", "classes", "regions", "rho", "in_bfloat16", "filtered", "kept"),
    [
        (8, 64, (40_000, 4096), 2048, 0.1, True, 0.0, 1 << 20),  # logits count most
        (16, 32, (200_000,), 512, 0.1, True, 0.0, 1 << 18),  # what stays counts most
        (64, 128, (64_000, 4096), 16_384, 0.1, True, 0.75, 1 << 20),  # gathered regions do
        (8, 64, (20_000, 4096), 2048, 1.0, False, 0.75, 1 << 20),
        (1, 128, (8000, 256), 512, 0.5, False, 0.0, 1 << 20),  # Adam's step does
    ],
)
def test_the_formula_is_the_count_within_a_tenth(
    monkeypatch, ranks, width, classes, regions, rho, in_bfloat16, filtered, kept
):
    monkeypatch.setitem(rank_share._KEPT_LOGITS, "cpu", kept)
    monkeypatch.setitem(rank_share._CHUNK_LOGITS, "cpu", 1 << 18)
    monkeypatch.setattr(rank_share, "_BLOCK_LOGITS", 1)  # as on a GPU: a block a chunk
    loads = [
        HeadLoad(
            ClassHead(name, count, RegionLoss(filter=filtered), Negatives(rho=rho)),
            regions // len(classes),
            slots,
        )
        for name, count, slots in zip(("object", "text"), classes, (1, 4), strict=False)
    ]
    memory = centre_memory(loads, width=width, devices=ranks, in_bfloat16=in_bfloat16, device="cpu")
    planned = memory.stays + memory.gradients + memory.passing
    found = counted(loads, width=width, ranks=ranks, in_bfloat16=in_bfloat16)
    assert planned == pytest.approx(found, rel=0.1)


def test_the_plan_counts_what_the_centres_of_the_papers_runs_hold():
    table = load_recipe("rice/pretrain_l14", scale="paper").pretrain
    plan = plan_stages(table, hardware("h100x64"))[0]
    memory = centre_memory(
        head_loads(table, table.stage[0]), width=1024, devices=64, in_bfloat16=True
    )
    assert plan.memory["centres"] == memory.stays + memory.gradients
    assert plan.memory["regions"] == memory.passing
    gathered = 4 * 1024 * 32_768 * 10  # bytes of a float32 row for each region of a step
    assert plan.memory["regions"] > 3 * gathered  # rows, their gradient, and products beside logits

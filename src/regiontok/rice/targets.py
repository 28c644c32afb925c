"""What a step of the loss needs beside the regions: the labels of all ranks, and what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F

from regiontok.rice.class_head import ClassHead
from regiontok.rice.positive_rows import PositiveRows
from regiontok.rice.rank_share import RankShare
from regiontok.rice.ranks import gathered, largest

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class StepTargets:
    """The labels of a step, and what each rank does with them; see `ClassCentres.targets`.

    Attributes:
        labels: for each head the labels `[N m]` of the regions of all ranks, -1 for none.
        shares: what this rank adds to each head.
        positives: the rows that ranks exchange in full precision; [] where all rows are gathered
            in it.
    """

    labels: Sequence[Int[Tensor, "N m"]]
    shares: Sequence[RankShare]
    positives: Sequence[PositiveRows]


def gathered_tables(
    heads: Sequence[ClassHead],
    labels: Mapping[str, Int[Tensor, "n m"]],
    excluded: Mapping[str, Int[Tensor, "n e"]],
    mesh: DeviceMesh | None,
    device: torch.device,
) -> list[Int[Tensor, "N m"]]:
    """For each head the labels of all ranks, and then what regions exclude.

    A label that repeats in a region is -1. Labels are checked after gathering, so that all ranks
    raise alike.

    Raises:
        ValueError: If heads are missing or unknown, tables differ in length, or labels lie outside
            the classes.
    """
    names = sorted(head.name for head in heads)
    if sorted(labels) != names or not set(excluded) <= set(names):
        raise ValueError(f"labels are for {sorted({*labels, *excluded})}, heads are {names}")
    regions = len(labels[heads[0].name])
    none = torch.full((regions, 0), -1)
    local = [
        (table.long().flatten(1) if table.ndim > 1 else table.long()[:, None]).to(device)
        for head in heads
        for table in (labels[head.name], excluded.get(head.name, none))
    ]
    for number, table in enumerate(local):
        if len(table) != regions:
            raise ValueError(
                f"head {heads[number // 2].name!r}: labels of {len(table)} regions for {regions} "
                "regions"
            )
    widths = [table.shape[1] for table in local]
    if excluded:  # as wide as the longest text of any rank
        widths = largest(torch.tensor(widths, device=device), mesh).tolist()
    filled = [
        F.pad(table, (0, width - table.shape[1]), value=-1)
        for table, width in zip(local, widths, strict=True)
    ]
    tables = gathered(torch.cat(filled, dim=1), mesh).split(widths, dim=1)
    return [_distinct(table, heads[number // 2]) for number, table in enumerate(tables)]


def _distinct(labels: Int[Tensor, "N m"], head: ClassHead) -> Int[Tensor, "N m"]:
    """Checked labels, sorted in each region, with -1 for those that repeat."""
    lowest, highest = (int(bound) for bound in labels.aminmax()) if labels.numel() else (-1, -1)
    if lowest < -1 or highest >= head.classes:
        raise ValueError(
            f"head {head.name!r}: labels lie in 0 ... {head.classes - 1} (-1: none), got "
            f"{lowest} ... {highest}"
        )
    ordered = labels.sort(1).values
    repeats = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    return torch.where(repeats, -1, ordered)

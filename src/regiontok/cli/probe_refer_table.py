"""The table of `regiontok probe refer` on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

_HEADS = {"ciou": "cIoU", "giou": "gIoU", "p50": "P@0.5"}


def refer_table(means: Sequence[dict[str, Any]]) -> Table:
    """A row an encoder: scores in percent, with their ranges over seeds or intervals over pictures.

    Behind them stands the cIoU of each kind of generated expression.
    """
    table = Table(
        title="Referring segmentation, %",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
    )
    kinds = list(means[0]["by_kind"])
    table.add_column("encoder", overflow="fold")
    for head in ("seeds", *_HEADS.values(), *kinds):
        table.add_column(head, justify="right", no_wrap=True)
    for row in means:
        scores = [_cell(row["scores"][name]) for name in _HEADS]
        by_kind = [f"{row['by_kind'][kind]:.1f}" for kind in kinds]
        table.add_row(row["encoder"], str(row["seeds"]), *scores, *by_kind)
    return table


def _cell(triple: Sequence[float]) -> str:
    value, low, high = triple
    return f"{value:.1f} ({low:.0f}-{high:.0f})"

"""Tables of the probes on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

_HEADS = {
    "success": "success",
    "precision": "precision",
    "normalised_precision": "norm. prec.",
    "ao": "AO",
    "sr50": "SR.50",
    "sr75": "SR.75",
}


def track_table(means: Sequence[dict[str, Any]], published: Sequence[dict[str, Any]] = ()) -> Table:
    """A row an encoder: scores in percent, with their ranges over seeds or intervals over clips.

    Args:
        means: the rows that were measured.
        published: rows of a paper about the same clips, which stand below.
    """
    table = Table(
        title="Tracks, %", title_justify="left", title_style="bold", header_style="dim", box=None
    )
    table.add_column("encoder", overflow="fold")
    table.add_column("seeds", justify="right")
    for head in _HEADS.values():
        table.add_column(head, justify="right", no_wrap=True)
    for row in means:
        cells = (_cell(row["scores"][name]) for name in _HEADS)
        table.add_row(row["encoder"], str(row["seeds"]), *cells)
    table.add_section()
    for row in published:
        figures = (row["scores"].get(name) for name in _HEADS)
        cells = ("" if figure is None else f"{figure:.1f}" for figure in figures)
        table.add_row(f"{row['encoder']} ({row['source']})", "", *cells, style="dim")
    return table


def _cell(triple: Sequence[float]) -> str:
    value, low, high = triple
    return f"{value:.1f} ({low:.0f}-{high:.0f})"

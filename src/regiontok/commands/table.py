"""Tables and progress on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from regiontok.tokenizer import STAGES

EACH = 12  # up to so many images a table has a row for each; above, it sums up


def progress(console: Console) -> Progress:
    """A bar with count and estimate; silent where `console` is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def results(reports: Sequence[dict[str, Any]]) -> Table:
    """Size, grid, patches, regions, tokens, share kept and milliseconds by stage: a row an image and setting, or a row a setting."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="fold", max_width=28)
    for head in ("size", "grid", "patches"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("regions from", overflow="fold", min_width=18)
    for head in ("regions", "tokens", "kept"):
        table.add_column(head, justify="right", no_wrap=True)
    for stage in STAGES:
        table.add_column(f"{stage} ms", justify="right")
    for row in _each(reports) if len(reports) <= EACH else _summed(reports):
        table.add_row(*row)
    return table


def summary(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a setting, over all images: mean counts and median milliseconds. What the closing JSON line holds."""
    found = []
    for rows in zip(*(report["settings"] for report in reports), strict=True):
        found.append(
            {
                "spec": rows[0]["spec"],
                "images": len(rows),
                "patches": round(mean(report["patches"] for report in reports), 1),
                "regions": round(mean(row["regions"] for row in rows), 1),
                "tokens": round(mean(row["tokens"] for row in rows), 1),
                "kept": round(mean(row["kept"] for row in rows), 4),
                "ms": {stage: round(median(row["ms"][stage] for row in rows), 2) for stage in STAGES},
            }
        )
    return found


def _each(reports: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for report in reports:
        head = [
            report["name"],
            "×".join(map(str, reversed(report["size"]))),
            "×".join(map(str, report["grid"])),
            str(report["patches"]),
        ]
        for row in report["settings"]:
            counts = [str(row["regions"]), str(row["tokens"]), f"{100 * row['kept']:.0f} %"]
            yield [*head, row["spec"], *counts, *(f"{row['ms'][stage]:.1f}" for stage in STAGES)]
            head = [""] * 4


def _summed(reports: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for row in summary(reports):
        head = [f"{row['images']} images (mean; median ms)", "", "", f"{row['patches']:.0f}", row["spec"]]
        counts = [f"{row['regions']:.0f}", f"{row['tokens']:.0f}", f"{100 * row['kept']:.0f} %"]
        yield [*head, *counts, *(f"{row['ms'][stage]:.1f}" for stage in STAGES)]

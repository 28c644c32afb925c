"""Tables and progress on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean, median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from regiontok.tokenizer.clock import STAGES

EACH = 12  # up to so many images a table has a row for each; above, it sums up


def progress(console: Console) -> Progress:
    """A bar with count and estimate; silent where `console` is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def follow(
    bar: Progress, show: Callable[[dict[str, Any]], str]
) -> Callable[[dict[str, Any]], None]:
    """What training tells, on a bar a stage; where nobody watches a bar, one line each twentieth of
    a stage.

    A stage's entry has its `name`, its `steps`, the `step` it goes on from, and `first`, its own
    first one, where steps are counted over all stages.
    """
    stage: dict[str, Any] = {}

    def tell(entry: dict[str, Any]) -> None:
        done = entry["step"] - entry.get("first", stage.get("first", 0))
        if entry["kind"] == "stage":
            stage.clear()
            stage.update(
                entry, task=bar.add_task(entry["name"], total=entry["steps"], completed=done)
            )
        if entry["kind"] == "step":
            bar.update(
                stage["task"],
                completed=done,
                description=f"{stage['name']} loss {entry['loss']:.4f}",
            )
            if bar.console.is_terminal or done % -(-stage["steps"] // 20):
                return
        bar.console.print(show(entry), highlight=False, markup=False)

    return tell


def results(reports: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Regions, tokens, share kept and milliseconds by stage: a table an image, or one table that
    sums up many images."""
    if len(reports) > EACH:
        rows = summary(reports)
        yield _table(f"{len(reports)} images: means; median ms", rows)
        return
    for report in reports:
        high, wide = report["size"]
        grid = " × ".join(map(str, report["grid"]))
        yield _table(
            f"{report['name']}: {wide} × {high} px, grid {grid}, {report['patches']} patches",
            report["settings"],
        )


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    table.add_column("regions from", overflow="fold", min_width=19, max_width=60)
    for head in ("regions", "tokens", "kept", *STAGES):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        counts = (f"{row['regions']:.0f}", f"{row['tokens']:.0f}", f"{100 * row['kept']:.0f} %")
        table.add_row(
            escape(row["spec"]), *counts, *(f"{row['ms'][stage]:.1f}" for stage in STAGES)
        )
    table.columns[-1].header = f"{STAGES[-1]} ms"
    return table


def set_aside(failed: Sequence[dict[str, str]]) -> Iterator[Table]:
    """The images that were not done, and why; no table if all were."""
    if failed:
        table = Table(
            title=f"set aside: {len(failed)}",
            title_justify="left",
            title_style="bold red",
            box=None,
            show_header=False,
        )
        for one in failed:
            table.add_row(escape(one["error"]))
        yield table


def summary(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a setting, over all images: mean counts and median milliseconds. What the closing
    JSON line holds."""
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
                "ms": {
                    stage: round(median(row["ms"][stage] for row in rows), 2) for stage in STAGES
                },
            }
        )
    return found

"""What a region probe writes: JSON, two CSV files, Markdown, and the tables of a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regiontok.jobs.probe.regions import RegionProbeResult
from regiontok.system.files import adding
from regiontok.system.strict_json import strict_json

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "encoder", "tokens", "probe", "width", "accuracy", "spread", "low", "high", "class_accuracy",
    "majority", "chance", "train", "test", "images",
)  # fmt: skip
CLASS_COLUMNS = ("encoder", "tokens", "probe", "class", "regions", "images", "accuracy", "mistaken")
FILES = ("results.json", "results.csv", "classes.csv", "results.md")


def write_results(result: RegionProbeResult, out: Path, about: Mapping[str, Any]) -> None:
    """Write the files of a result; those of an earlier one are replaced.

    Args:
        result: the result.
        out: the folder.
        about: the settings, which `results.json` states.
    """
    rows = [row.report() for row in result.rows]
    content = {
        **about,
        "classes": result.classes,
        "left_out": result.left_out,
        "rare": result.rare,
        "failed": result.failed,
        "rows": rows,
    }
    with adding(out, last="results.json") as folder:
        (folder / "results.csv").write_text(_csv(COLUMNS, rows), encoding="utf-8")
        classes = _csv(CLASS_COLUMNS, list(_class_rows(result)))
        (folder / "classes.csv").write_text(classes, encoding="utf-8")
        (folder / "results.md").write_text(markdown(result), encoding="utf-8")
        text = json.dumps(json.loads(strict_json(content)), indent=1)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")


def markdown(result: RegionProbeResult) -> str:
    """The table in Markdown, in percent: mean ± deviation over splits, [interval]."""
    heads = "| encoder | tokens | probe | right | by class | majority | chance |"
    lines = [heads, "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for row in result.rows:
        report = row.report()
        by_class, majority, chance = (
            f"{100 * report[name]:.1f}" for name in ("class_accuracy", "majority", "chance")
        )
        lines.append(
            f"| `{row.subject}` | {row.tokens} | {row.probe} | {accuracy_text(report)} | "
            f"{by_class} | {majority} | {chance} |"
        )
    return "\n".join(lines) + "\n"


def accuracy_text(report: Mapping[str, Any]) -> str:
    """Percent right with what is known of its spread.

    >>> accuracy_text({"accuracy": 0.5, "spread": float("nan"), "low": 0.4, "high": 0.61})
    '50.0 [40.0, 61.0]'
    >>> accuracy_text({"accuracy": 0.5, "spread": 0.02, "low": 0.4, "high": 0.61})
    '50.0 ± 2.0 [40.0, 61.0]'
    """
    text = f"{100 * report['accuracy']:.1f}"
    if report["spread"] == report["spread"]:  # no NaN
        text += f" ± {100 * report['spread']:.1f}"
    if report["low"] == report["low"]:
        text += f" [{100 * report['low']:.1f}, {100 * report['high']:.1f}]"
    return text


def result_tables(result: RegionProbeResult, most: int = 20) -> Iterator[Table]:
    """The tables of a terminal: all rows, and the classes of the best one.

    Args:
        result: the result.
        most: classes that are shown, those with most test regions first.
    """
    from rich.table import Table

    look: dict[str, Any] = {
        "title_justify": "left", "title_style": "bold", "header_style": "dim", "box": None
    }  # fmt: skip
    first = result.rows[0].scores[0]
    title = f"percent of {first.test} regions of {first.images} images, {result.classes} classes"
    table = Table(title=title, **look)
    for head in ("encoder", "tokens", "probe"):
        table.add_column(head, overflow="fold")
    for head in ("right", "by class", "majority", "chance"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in result.rows:
        report = row.report()
        shares = (report[name] for name in ("class_accuracy", "majority", "chance"))
        figures = (f"{100 * share:.1f}" for share in shares)
        table.add_row(row.subject, row.tokens, row.probe, accuracy_text(report), *figures)
    yield table
    best = max(result.rows, key=lambda row: row.report()["accuracy"])
    scores = sorted(best.scores[0].classes, key=lambda score: -score.regions)[:most]
    classes = Table(title=f"classes by {best.subject}, {best.tokens}, {best.probe}", **look)
    classes.add_column("class")
    for head in ("regions", "images", "right"):
        classes.add_column(head, justify="right", no_wrap=True)
    classes.add_column("most often taken for")
    for score in scores:
        numbers = (str(score.regions), str(score.images), f"{100 * score.accuracy:.1f}")
        classes.add_row(score.name, *numbers, score.mistaken)
    yield classes


def _class_rows(result: RegionProbeResult) -> Iterator[dict[str, Any]]:
    """A row for each class of each row's first split."""
    for row in result.rows:
        for score in row.scores[0].classes:
            yield {
                "encoder": row.subject,
                "tokens": row.tokens,
                "probe": row.probe,
                "class": score.name,
                "regions": score.regions,
                "images": score.images,
                "accuracy": score.accuracy,
                "mistaken": score.mistaken,
            }


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()

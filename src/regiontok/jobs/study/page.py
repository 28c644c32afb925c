"""What a study writes: its tables as JSON, Markdown and a page, and a picture of each finding."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from regiontok.draw.intervals import IntervalRow, draw_intervals
from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.jobs.html_page import data_uri, html_page
from regiontok.jobs.study.plan import StudyPlan
from regiontok.jobs.study.run import BENCH
from regiontok.jobs.study.tables import (
    StudyTable,
    cells_of,
    column_title,
    markdown,
)
from regiontok.system.files import adding
from regiontok.system.strict_json import json_bytes

PAGE = "study.html"
_DRAWN = 7  # columns of a picture at most; more are too small to read
_INTERVALS = (
    "Per cent right on the test split: the mean over seeds and its 95 % interval by Student's t. "
    "The last column is the difference from the baseline's mean of all kinds, seed by seed; a star "
    "marks those whose interval leaves out 0."
)


def write_study(plan: StudyPlan, tables: Sequence[StudyTable], out: Path) -> list[Path]:
    """Write tables and pictures into a study's folder; those of an earlier call are replaced.

    Raises:
        MissingPackage: If matplotlib is not installed.
    """
    pictures = {f"finding{number + 1}.png": draw(table) for number, table in enumerate(tables)}
    with adding(out, last=PAGE) as temporary:
        report = {"plan": plan.name, "what": plan.what, "findings": [t.report() for t in tables]}
        (temporary / "study.json").write_bytes(json_bytes(report, indent=1))
        (temporary / "study.md").write_text(markdown(plan, tables), encoding="utf-8")
        for name, picture in pictures.items():
            picture.save(temporary / name)
        text = page(plan, tables, list(pictures.values()))
        (temporary / PAGE).write_text(text, encoding="utf-8")
    return [out / name for name in ("study.json", "study.md", *pictures, PAGE)]


def draw(table: StudyTable) -> Image.Image:
    """A finding as a picture: accuracy against tokens if settings are budgets, else intervals."""
    if table.finding.frontier:
        return _frontier(table)
    columns = table.columns[:_DRAWN]
    rows = [
        IntervalRow(
            row.setting,
            tuple((row.scores[name].mean, row.scores[name].half) for name in columns),
            is_base=row.setting == table.finding.baseline,
        )
        for row in table.rows
    ]
    return draw_intervals(rows, list(map(column_title, columns)), title=table.finding.title)


def _frontier(table: StudyTable) -> Image.Image:
    """A line for each method, whose settings are named "METHOD TOKENS"."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in table.rows:
        name, _, last = row.setting.rpartition(" ")
        series = name if name and last.isdigit() else row.setting
        points.setdefault(series, []).append((row.tokens.mean, row.scores[BENCH].mean))
    base = table.finding.baseline.rpartition(" ")[0]
    lines = [
        Line(
            name,
            tuple(tokens for tokens, _ in values),
            tuple(score for _, score in values),
            bold=name == base,
        )
        for name, values in points.items()
    ]
    panel = Panel("All kinds of questions", "tokens a picture", "per cent right", tuple(lines))
    return draw_panels([panel], title=table.finding.title)


def page(plan: StudyPlan, tables: Sequence[StudyTable], pictures: Sequence[Image.Image]) -> str:
    """The tables and their pictures as one page that needs no network."""
    body = [f"<h1>{escape(plan.what)}</h1>", f'<p class="about">{_INTERVALS}</p>']
    for table, picture in zip(tables, pictures, strict=True):
        body += [f"<h2>{escape(table.finding.title)}</h2>"]
        if table.finding.paper:
            body += [f"<p>The paper: {escape(table.finding.paper)}</p>"]
        body += [_table(table), _figure(picture, table)]
    style = "img { max-width: 100%; background: #fff; border-radius: 4px; margin-top: 12px; }"
    return html_page(plan.what, "\n".join(body), style=style)


def _figure(picture: Image.Image, table: StudyTable) -> str:
    return f'<figure><img src="{data_uri(picture)}" alt="{escape(table.finding.title)}"></figure>'


def _table(table: StudyTable) -> str:
    heads: list[Any] = ["tokens", *map(column_title, table.columns), "less the baseline"]
    cells = "".join(f"<th>{escape(head)}</th>" for head in heads)
    rows = []
    for row in table.rows:
        first, *others = cells_of(row, table)
        texts = "".join(f"<td>{escape(text)}</td>" for text in others)
        rows.append(f'<tr><td class="words">{escape(first)}</td>{texts}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th class="words">setting</th>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )

"""A report as one HTML page that needs no network: a table to sort and filter, and a frontier."""

from __future__ import annotations

import math
from html import escape

from regiontok.evaluation.scoring import Value
from regiontok.jobs.report.table import Cell, ReportRow, ReportTable
from regiontok.jobs.report.template import PAGE
from regiontok.jobs.report.texts import COST_HEADS, cost_cells, number

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 340, 62, 44, 16
_TICKS = 5


def page(table: ReportTable) -> str:
    """The page of a report."""
    about = (
        f"{sum(row.kind == 'ours' for row in table.rows)} models of ours, "
        f"{sum(row.kind != 'ours' for row in table.rows)} printed rows. "
        "Click a heading to sort. Small numbers are the middle 95 % of bootstrap resamples; "
        "coloured ones our score less the paper's; a star marks others' own figures."
    )
    body = [
        f"<h1>{escape(table.title)}</h1>",
        f'<p class="about">{escape(about)}</p>',
        '<p class="pick"><input id="filter" type="search" placeholder="only rows with ..." '
        'aria-label="only rows with"> '
        + " ".join(
            f'<label><input type="checkbox" class="kind" value="{kind}" checked> {kind}</label>'
            for kind in dict.fromkeys(row.kind for row in table.rows)
        )
        + "</p>",
        _table(table),
        "<h2>What tokens buy</h2>",
        *_frontiers(table),
        "<h2>Visual tokens of a picture, and seconds</h2>",
        _costs(table),
        "<h2>Settings</h2>",
        "<ul>",
        *(
            f"<li><b>{escape(row.name)}</b>: {escape(row.note)}</li>"
            for row in table.rows
            if row.note
        ),
        "</ul>",
    ]
    return PAGE.substitute(title=escape(table.title), body="\n".join(body))


def _table(table: ReportTable) -> str:
    heads = ["row", "tokens", "s a question", *table.columns]
    head = "".join(
        f"<th{' class=words' if name == 'row' else ''}><button>{escape(name)}</button></th>"
        for name in heads
    )
    rows = "\n".join(_row(row, table) for row in table.rows)
    if table.constants:
        cells = "".join(
            f"<td>{number(table.constants.get(name, math.nan))}</td>" for name in table.columns
        )
        rows += (
            '\n<tr class="baseline" data-kind="ours"><td class="words">one reply to all</td>'
            f"<td></td><td></td>{cells}</tr>"
        )
    return (
        f'<div class="scroll"><table id="scores"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _costs(table: ReportTable) -> str:
    """Visual tokens with their distribution, and seconds, run by run and benchmark by benchmark."""
    heads = "".join(
        f"<th{' class=words' if index < 2 else ''}>{escape(name)}</th>"
        for index, name in enumerate(COST_HEADS)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(
            f"<td{' class=words' if index < 2 else ''}>{escape(cell)}</td>"
            for index, cell in enumerate(cost_cells(row))
        )
        + "</tr>"
        for row in table.costs
    )
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def _row(row: ReportRow, table: ReportTable) -> str:
    spread = f'<br><small title="least / median / most">{escape(row.spread)}</small>'
    cells = [
        f'<td class="words">{escape(row.name)}<br><small>{row.kind}</small></td>',
        f'<td data-value="{_sorting(row.tokens)}">{number(row.tokens, 1)}'
        f"{spread if row.spread else ''}</td>",
        f'<td data-value="{_sorting(row.seconds)}">{number(row.seconds, 3)}</td>',
        *(_score_cell(row.cells.get(name)) for name in table.columns),
    ]
    return f'<tr class="{row.kind}" data-kind="{row.kind}">{"".join(cells)}</tr>'


def _score_cell(cell: Cell | None) -> str:
    if cell is None or math.isnan(cell.value.value):
        return '<td data-value=""></td>'
    value = cell.value
    parts = [number(value.value) + ("*" if cell.starred else "")]
    if not math.isnan(value.low):
        parts.append(f"<small>{number(value.low)} to {number(value.high)}</small>")
    if not math.isnan(cell.difference):
        sign = "above" if cell.difference >= 0 else "below"
        parts.append(f'<small class="{sign}">{cell.difference:+.2f}</small>')
    if not math.isnan(cell.blind):
        parts.append(f"<small>blind {number(cell.blind)}</small>")
    return f'<td data-value="{value.value!r}">{"<br>".join(parts)}</td>'


def _sorting(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _frontiers(table: ReportTable) -> list[str]:
    """A plot of score against tokens for every column with two rows that have both."""
    figures = []
    for name in table.columns:
        points = [
            (row, row.tokens, row.cells[name].value)
            for row in table.rows
            if name in row.cells
            and math.isfinite(row.tokens)
            and math.isfinite(row.cells[name].value.value)
        ]
        if len(points) >= 2:
            figures.append(_frontier(name, points))
    if not figures:
        return ['<p class="about">Two rows with a score and a number of tokens make a plot.</p>']
    return ['<div class="plots">', *figures, "</div>"]


def _frontier(name: str, scores: list[tuple[ReportRow, float, Value]]) -> str:
    """One plot; the line joins rows that no other one beats with as few tokens."""
    xs = _axis([tokens for _, tokens, _ in scores])
    spread = [edge for _, _, value in scores for edge in (value.value, value.low, value.high)]
    ys = _axis([edge for edge in spread if math.isfinite(edge)])

    def x(value: float) -> float:
        return _LEFT + (value - xs[0]) / (xs[1] - xs[0]) * (_WIDTH - _LEFT - 16)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - ys[0]) / (ys[1] - ys[0]) * (_HEIGHT - _BOTTOM - _TOP)

    marks = []
    for tick in range(_TICKS):
        across = xs[0] + (xs[1] - xs[0]) * tick / (_TICKS - 1)
        up = ys[0] + (ys[1] - ys[0]) * tick / (_TICKS - 1)
        marks.append(
            f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - 16}" y1="{y(up):.1f}" '
            f'y2="{y(up):.1f}"/><text x="{_LEFT - 8}" y="{y(up) + 4:.1f}" '
            f'text-anchor="end">{up:.4g}</text><text x="{x(across):.1f}" '
            f'y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{across:.0f}</text>'
        )
    best, corners = -math.inf, []
    for _, tokens, value in sorted(scores, key=lambda point: (point[1], -point[2].value)):
        if value.value > best:
            best = value.value
            corners.append(f"{x(tokens):.1f},{y(value.value):.1f}")
    marks.append(f'<polyline class="frontier" fill="none" points="{" ".join(corners)}"/>')
    for row, tokens, value in scores:
        said = f"{row.name}: {number(value.value)} with {number(tokens, 1)} tokens"
        if math.isfinite(value.low):
            marks.append(
                f'<line class="interval" x1="{x(tokens):.1f}" x2="{x(tokens):.1f}" '
                f'y1="{y(value.low):.1f}" y2="{y(value.high):.1f}"/>'
            )
        marks.append(
            f'<circle class="{row.kind}" cx="{x(tokens):.1f}" cy="{y(value.value):.1f}" r="5">'
            f"<title>{escape(said)}</title></circle>"
        )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(name)} against visual tokens">{"".join(marks)}'
        f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"visual tokens a picture</text></svg><figcaption>{escape(name)}</figcaption></figure>"
    )


def _axis(values: list[float]) -> tuple[float, float]:
    """Ends of an axis, with a margin of a tenth on either side; nothing counts below 0."""
    low, high = min(values), max(values)
    margin = (high - low) / 10 or abs(high) / 10 or 1.0
    return (low - margin if low < 0 else max(0.0, low - margin)), high + margin

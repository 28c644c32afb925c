"""A report as one HTML page that needs no network: a table to sort and filter, and a frontier."""

from __future__ import annotations

import math
from html import escape

from regiontok.jobs.html_page import html_page
from regiontok.jobs.report.plot import plots
from regiontok.jobs.report.rows import Cell, ReportRow, ReportTable
from regiontok.jobs.report.template import SCRIPT, STYLE
from regiontok.jobs.report.texts import COST_HEADS, COSTS_TITLE, cost_lines, number, tokens_apart

_COST_WORDS = 3  # columns of the table of costs that hold words


def page(table: ReportTable) -> str:
    """The page of a report."""
    kinds = list(dict.fromkeys(row.kind for row in table.rows))
    body = [
        f"<h1>{escape(table.title)}</h1>",
        f'<p class="about">{escape(_about(table))}</p>',
        _picks(kinds),
        _table(table),
        "<h2>What tokens buy</h2>",
        *plots(table),
        f"<h2>{COSTS_TITLE}</h2>",
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
    return html_page(table.title, "\n".join(body), style=STYLE, script=SCRIPT)


def _about(table: ReportTable) -> str:
    """How many rows there are, and what their small numbers mean."""
    printed = sum(row.kind != "ours" for row in table.rows)
    words = [f"{len(table.rows) - printed} models of ours"]
    words[0] += f", {printed} printed rows." if printed else "."
    words.append(
        "Click a heading to sort. Small numbers are the middle 95 % of bootstrap resamples"
    )
    words[-1] += "; coloured ones our score less the paper's." if printed else "."
    words.append(
        "Tokens are those of a picture of CV-Bench where it is among the benchmarks, else of the "
        "first benchmark; a score with other tokens says so, and its plot has them."
    )
    if any(cell.starred for row in table.rows for cell in row.cells.values()):
        words.append("A star marks others' own figures.")
    return " ".join(words)


def _picks(kinds: list[str]) -> str:
    """The field that filters rows, and a box a kind where there are several."""
    boxes = " ".join(
        f'<label><input type="checkbox" class="kind" value="{kind}" checked> {kind}</label>'
        for kind in kinds
    )
    return (
        '<p class="pick"><input id="filter" type="search" placeholder="only rows with ..." '
        f'aria-label="only rows with"> {boxes if len(kinds) > 1 else ""}</p>'
    )


def _table(table: ReportTable) -> str:
    heads = ["row", "resolution", "tokens", "s a question", *table.columns]
    head = "".join(
        f"<th{' class=words' if name == 'row' else ''}><button>{_breakable(name)}</button></th>"
        for name in heads
    )
    rows = "\n".join(_row(row, table) for row in table.rows)
    if table.constants:
        cells = "".join(
            f"<td>{number(table.constants.get(name, math.nan))}</td>" for name in table.columns
        )
        rows += (
            '\n<tr class="baseline" data-kind="ours"><td class="words">one reply to all</td>'
            f"<td></td><td></td><td></td>{cells}</tr>"
        )
    return (
        f'<div class="scroll"><table id="scores"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _breakable(name: str) -> str:
    """A name that may break behind its underscores."""
    return escape(name).replace("_", "_<wbr>")


def _costs(table: ReportTable) -> str:
    """Visual tokens with their distribution, and seconds, run by run and benchmark by benchmark."""
    heads = "".join(
        f"<th{' class=words' if index < _COST_WORDS else ''}>{escape(name)}</th>"
        for index, name in enumerate(COST_HEADS)
    )
    rows = "\n".join(
        f'<tr data-row="{escape(row.name)}">'
        + "".join(
            f"<td{' class=words' if index < _COST_WORDS else ''}>{escape(cell)}</td>"
            for index, cell in enumerate(cells)
        )
        + "</tr>"
        for row in table.costs
        for cells in cost_lines(row)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def _row(row: ReportRow, table: ReportTable) -> str:
    spread = f'<br><small title="least / median / most">{escape(row.spread)}</small>'
    several = any(other.kind != row.kind for other in table.rows)
    kind = f"<br><small>{row.kind}</small>" if several else ""
    cells = [
        f'<td class="words">{_breakable(row.name)}{kind}</td>',
        f"<td>{escape(row.resolution)}</td>",
        f'<td data-value="{_sorting(row.tokens)}">{number(row.tokens, 1)}'
        f"{spread if row.spread else ''}</td>",
        f'<td data-value="{_sorting(row.seconds)}">{number(row.seconds, 3)}</td>',
        *(_score_cell(row.cells.get(name), row) for name in table.columns),
    ]
    return f'<tr class="{row.kind}" data-kind="{row.kind}">{"".join(cells)}</tr>'


def _score_cell(cell: Cell | None, row: ReportRow) -> str:
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
    if tokens := tokens_apart(cell, row):
        parts.append(f"<small>{tokens} tokens</small>")
    return f'<td data-value="{value.value!r}">{"<br>".join(parts)}</td>'


def _sorting(value: float) -> str:
    return "" if math.isnan(value) else repr(value)

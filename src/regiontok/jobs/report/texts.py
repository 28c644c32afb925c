"""A report's table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence

from regiontok.evaluation.cost import TokenCounts
from regiontok.jobs.report.rows import Cell, CostRow, ReportRow, ReportTable

TOKEN_QUANTILES = ("least", "quarter", "median", "three quarters", "most")


def number(value: float, digits: int = 2) -> str:
    """A figure as tables print it; "" if there is none.

    >>> number(61.2345), number(1499.8, 1), number(float("nan"))
    ('61.23', '1499.8', '')
    """
    return "" if math.isnan(value) else f"{value:.{digits}f}"


# the first three are words
COST_HEADS = (
    *("run", "benchmark", "resolution", "questions", "pictures"),
    *("tokens", *TOKEN_QUANTILES, "s a question"),
)
COSTS_TITLE = "Visual tokens of a picture, and seconds"


def cost_lines(row: CostRow) -> list[list[str]]:
    """A run's visual tokens and seconds on one benchmark, as tables print them.

    Where pictures are of several resolutions, a line a resolution follows, without seconds.
    """
    by_resolution = row.cost.by_resolution if len(row.cost.by_resolution) > 1 else ()
    questions, seconds = str(row.questions), number(row.cost.seconds, 3)
    return [
        _cost_cells(row, row.cost.all, questions, seconds),
        *(_cost_cells(row, counts, "", "") for counts in by_resolution),
    ]


def _cost_cells(row: CostRow, counts: TokenCounts, questions: str, seconds: str) -> list[str]:
    quantiles = counts.quantiles or (math.nan,) * len(TOKEN_QUANTILES)
    return [
        row.name,
        row.bench,
        counts.resolution,
        questions,
        str(counts.pictures),
        number(counts.tokens, 1),
        *(number(value, 0) for value in quantiles),
        seconds,
    ]


def tokens_apart(cell: Cell, row: ReportRow) -> str:
    """The tokens of a figure's benchmark, where they are others than those of its row.

    >>> from regiontok.evaluation.scoring import Value
    >>> row = ReportRow("ours", "ours", {}, tokens=257.0)
    >>> tokens_apart(Cell(Value(1.0), tokens=200.0), row), tokens_apart(Cell(Value(1.0)), row)
    ('200.0', '')
    """
    tokens = number(cell.tokens, 1)
    return "" if tokens == number(row.tokens, 1) else tokens


def cell_text(cell: Cell | None, row: ReportRow) -> str:
    """A figure with its interval, its difference from the paper's, and tokens if they are others.

    >>> from regiontok.evaluation.scoring import Value
    >>> row = ReportRow("ours", "ours", {}, tokens=257.0)
    >>> cell_text(Cell(Value(61.2, 60.0, 62.4), published=60.0, tokens=200.0), row)
    '61.20 [60.00, 62.40] (+1.20), 200.0 tokens'
    """
    if cell is None or math.isnan(cell.value.value):
        return ""
    text = _value(cell)
    if not math.isnan(cell.value.low):
        text += f" [{number(cell.value.low)}, {number(cell.value.high)}]"
    if not math.isnan(cell.difference):
        text += f" ({cell.difference:+.2f})"
    if not math.isnan(cell.blind):
        text += f", blind {number(cell.blind)}"
    if tokens := tokens_apart(cell, row):
        text += f", {tokens} tokens"
    return text


def _value(cell: Cell) -> str:
    return number(cell.value.value) + ("*" if cell.starred else "")


_CONSTANTS = "one reply to all"
_ROW_HEADS = ("row", "whose", "resolution", "tokens", "least / median / most", "s a question")


def _cells(row: ReportRow, table: ReportTable) -> list[str]:
    return [
        row.name,
        row.kind,
        row.resolution,
        number(row.tokens, 1),
        row.spread,
        number(row.seconds, 3),
        *(cell_text(row.cells.get(name), row) for name in table.columns),
    ]


def _constant_cells(table: ReportTable) -> list[str]:
    values = [number(table.constants.get(name, math.nan)) for name in table.columns]
    return [_CONSTANTS, "baseline", *[""] * (len(_ROW_HEADS) - 2), *values]


def _lines(table: ReportTable) -> list[list[str]]:
    lines = [_cells(row, table) for row in table.rows]
    return [*lines, _constant_cells(table)] if table.constants else lines


def markdown(table: ReportTable) -> str:
    """The table as Markdown, with what its signs mean."""
    lines = [
        f"## {table.title}",
        "",
        *_marked([*_ROW_HEADS, *table.columns], _lines(table)),
        "",
        _LEGEND,
        "",
        *(f"- {row.name}: {row.note}" for row in table.rows if row.kind == "ours"),
        "",
        f"## {COSTS_TITLE}",
        "",
        *_marked(COST_HEADS, [cells for row in table.costs for cells in cost_lines(row)]),
    ]
    return "\n".join(lines).rstrip() + "\n"


_LEGEND = (
    "Brackets: the middle 95 % of bootstrap resamples. Parentheses: our score less the paper's. "
    "Star: the figure is the model's own authors', and may count something else. Tokens are those "
    "of a picture of CV-Bench where it is among the benchmarks, else of the first benchmark; a "
    "score with other tokens says so."
)


def _marked(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; figures stand at the right."""
    words = ("row", "whose", *COST_HEADS[:3])
    rule = [":--" if head in words else "--:" for head in heads]
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in (heads, rule, *lines)]
    return [f"| {' | '.join(cells)} |" for cells in escaped]


def costs_comma_separated(table: ReportTable) -> str:
    """Visual tokens with their distribution by benchmark and resolution, and seconds, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([head.replace(" ", "_") for head in COST_HEADS])
    for row in table.costs:
        writer.writerows(cost_lines(row))
    return out.getvalue()


_CSV_HEADS = (
    "row whose resolution tokens seconds score value low high published difference blind "
    "score_tokens"
).split()


def comma_separated(table: ReportTable) -> str:
    """The table as CSV, one line a figure, with value, interval, paper's figure and difference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_HEADS)
    for row in table.rows:
        for name, cell in row.cells.items():
            value = cell.value
            figures = (value.value, value.low, value.high, cell.published, cell.difference)
            writer.writerow(
                [
                    row.name,
                    row.kind,
                    row.resolution,
                    number(row.tokens, 3),
                    number(row.seconds, 5),
                    name,
                    *(number(figure, 6) for figure in (*figures, cell.blind)),
                    number(cell.tokens, 3),
                ]
            )
    for name, constant in table.constants.items():
        cells = {"row": _CONSTANTS, "whose": "baseline", "score": name}
        cells["value"] = number(constant, 6)
        writer.writerow([cells.get(head, "") for head in _CSV_HEADS])
    return out.getvalue()


def latex(table: ReportTable) -> str:
    """The table as LaTeX for booktabs, small numbers as in Markdown, and that of the costs."""
    heads = ["", "resolution", r"\#tokens", "s a question", *map(_escaped, table.columns)]
    lines = []
    for row in table.rows:
        cells = [_latex_cell(row.cells.get(name), row) for name in table.columns]
        name = _escaped(row.name)
        label = rf"\textbf{{{name}}}" if row.kind == "ours" else name
        cost = [_escaped(row.resolution), number(row.tokens, 0), number(row.seconds, 3)]
        lines.append([label, *cost, *cells])
    if table.constants:
        constants = [number(table.constants.get(name, math.nan)) for name in table.columns]
        lines.append([_CONSTANTS, "", "", "", *constants])
    costs = [list(map(_escaped, cells)) for row in table.costs for cells in cost_lines(row)]
    return f"{_tabular(2, heads, lines)}\n% {COSTS_TITLE}\n{_tabular(3, COST_HEADS, costs)}"


def _tabular(words: int, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A tabular whose first columns hold words."""
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * words}{'r' * (len(heads) - words)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex_cell(cell: Cell | None, row: ReportRow) -> str:
    if cell is None or math.isnan(cell.value.value):
        return "--"
    value = _value(cell)
    remarks = cell_text(cell, row)[len(value) :].lstrip(", ")
    return rf"{value} {{\scriptsize {remarks}}}" if remarks else value


def _escaped(text: str) -> str:
    """Text with LaTeX's own signs made plain; a backslash becomes a slash.

    >>> print(_escaped("a_b & 5 %"))
    a\\_b \\& 5 \\%
    """
    return re.sub(r"[&%$#_{}]", r"\\\g<0>", text.replace("\\", "/"))

"""A report's table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re

from regiontok.jobs.report.table import Cell, CostRow, ReportRow, ReportTable

TOKEN_QUANTILES = ("least", "quarter", "median", "three quarters", "most")


def number(value: float, digits: int = 2) -> str:
    """A figure as tables print it; "" if there is none.

    >>> number(61.2345), number(1499.8, 1), number(float("nan"))
    ('61.23', '1499.8', '')
    """
    return "" if math.isnan(value) else f"{value:.{digits}f}"


COST_HEADS = ("run", "benchmark", "questions", "tokens", *TOKEN_QUANTILES, "s a question")


def cost_cells(row: CostRow) -> list[str]:
    """A run's visual tokens and seconds on one benchmark, as tables print them."""
    quantiles = row.cost.quantiles or (math.nan,) * len(TOKEN_QUANTILES)
    return [
        row.name,
        row.bench,
        str(row.questions),
        number(row.cost.tokens, 1),
        *(number(value, 0) for value in quantiles),
        number(row.cost.seconds, 3),
    ]


def cell_text(cell: Cell | None) -> str:
    """A figure with its interval and its difference from the paper's.

    >>> from regiontok.evaluation.scoring import Value
    >>> cell_text(Cell(Value(61.2, 60.0, 62.4), published=60.0))
    '61.20 [60.00, 62.40] (+1.20)'
    """
    if cell is None or math.isnan(cell.value.value):
        return ""
    text = number(cell.value.value) + ("*" if cell.starred else "")
    if not math.isnan(cell.value.low):
        text += f" [{number(cell.value.low)}, {number(cell.value.high)}]"
    if not math.isnan(cell.difference):
        text += f" ({cell.difference:+.2f})"
    if not math.isnan(cell.blind):
        text += f", blind {number(cell.blind)}"
    return text


def _heads(table: ReportTable) -> list[str]:
    return ["row", "whose", "tokens", "least / median / most", "s a question", *table.columns]


def _cells(row: ReportRow, table: ReportTable) -> list[str]:
    return [
        row.name,
        row.kind,
        number(row.tokens, 1),
        row.spread,
        number(row.seconds, 3),
        *(cell_text(row.cells.get(name)) for name in table.columns),
    ]


def _constant_cells(table: ReportTable) -> list[str]:
    values = [number(table.constants.get(name, math.nan)) for name in table.columns]
    return ["one reply to all", "baseline", "", "", "", *values]


def _lines(table: ReportTable) -> list[list[str]]:
    lines = [_cells(row, table) for row in table.rows]
    return [*lines, _constant_cells(table)] if table.constants else lines


def markdown(table: ReportTable) -> str:
    """The table as Markdown, with what its signs mean."""
    heads = _heads(table)
    lines = [
        f"## {table.title}",
        "",
        _bar(heads),
        _bar([":--", ":--", *["--:"] * (len(heads) - 2)]),
    ]
    lines += [_bar([cell.replace("|", "\\|") for cell in cells]) for cells in _lines(table)]
    lines += ["", _LEGEND, ""]
    lines += [f"- {row.name}: {row.note}" for row in table.rows if row.kind == "ours"]
    lines += ["", "## Visual tokens of a picture, and seconds", "", _bar(list(COST_HEADS))]
    lines += [_bar([":--", ":--", *["--:"] * (len(COST_HEADS) - 2)])]
    lines += [_bar([cell.replace("|", "\\|") for cell in cost_cells(row)]) for row in table.costs]
    return "\n".join(lines).rstrip() + "\n"


_LEGEND = (
    "Brackets: the middle 95 % of bootstrap resamples. Parentheses: our score less the paper's. "
    "Star: the figure is the model's own authors', and may count something else."
)


def _bar(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def comma_separated(table: ReportTable) -> str:
    """The table as CSV, one line a figure, with value, interval, paper's figure and difference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "row whose tokens seconds score value low high published difference blind".split()
    )
    for row in table.rows:
        for name, cell in row.cells.items():
            value = cell.value
            figures = (value.value, value.low, value.high, cell.published, cell.difference)
            writer.writerow(
                [
                    row.name,
                    row.kind,
                    number(row.tokens, 3),
                    number(row.seconds, 5),
                    name,
                    *(number(figure, 6) for figure in (*figures, cell.blind)),
                ]
            )
    return out.getvalue()


def latex(table: ReportTable) -> str:
    """The table as LaTeX for booktabs: figures, and differences as small numbers."""
    heads = ["", r"\#tokens", *(_escaped(name) for name in table.columns)]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [_latex_cell(row.cells.get(name)) for name in table.columns]
        name = _escaped(row.name)
        label = rf"\textbf{{{name}}}" if row.kind == "ours" else name
        lines.append(" & ".join([label, number(row.tokens, 0), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None or math.isnan(cell.value.value):
        return "--"
    text = number(cell.value.value)
    if not math.isnan(cell.difference):
        text += rf" {{\scriptsize ({cell.difference:+.2f})}}"
    return text


def _escaped(text: str) -> str:
    """Text with LaTeX's own signs made plain; a backslash becomes a slash.

    >>> print(_escaped("a_b & 5 %"))
    a\\_b \\& 5 \\%
    """
    return re.sub(r"[&%$#_{}]", r"\\\g<0>", text.replace("\\", "/"))

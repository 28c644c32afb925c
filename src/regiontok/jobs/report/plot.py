"""The plots of a report's page: score against visual tokens, as SVG.

Rows whose names differ in a last number alone ("merge 144", "merge 72") are one series: they share
a colour and a line.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from regiontok.evaluation.scoring import Value
from regiontok.jobs.report.rows import Cell, ReportRow, ReportTable
from regiontok.jobs.report.texts import number

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 640, 340, 62, 16, 44, 16
_STEPS = 5  # about so many steps an axis
_COLOURS = 10  # as many as the page's style has
_APART = 4  # pixels between the marks of two series


@dataclass(frozen=True, eq=False)
class _Point:
    row: ReportRow
    cell: Cell
    series: int = -1  # -1 for a row that belongs to none

    @property
    def tokens(self) -> float:
        """Those of the score's own benchmark; a printed row has one number for all of them."""
        return self.cell.tokens if math.isfinite(self.cell.tokens) else self.row.tokens

    @property
    def value(self) -> Value:
        return self.cell.value


def plots(table: ReportTable) -> list[str]:
    """A plot for every column with two rows that have a score and a number of tokens."""
    names = series_names([row.name for row in table.rows])
    figures = []
    for column in table.columns:
        points = [
            _Point(row, row.cells[column], _number_of(row.name, names))
            for row in table.rows
            if column in row.cells
        ]
        points = [
            point
            for point in points
            if math.isfinite(point.tokens) and math.isfinite(point.value.value)
        ]
        if len(points) >= 2:
            figures.append(_figure(column, points, names))
    if not figures:
        return ['<p class="about">Two rows with a score and a number of tokens make a plot.</p>']
    return [_legend(names), '<div class="plots">', *figures, "</div>"]


def series_names(names: Sequence[str]) -> list[str]:
    """What two names or more have in front of a last number, in their order.

    >>> series_names(["clip merge 144", "clip patches", "clip merge 72", "clip tome 72"])
    ['clip merge']
    """
    counts = Counter(filter(None, map(_stem, names)))
    return [name for name, count in counts.items() if count > 1]


def _stem(name: str) -> str:
    match = re.fullmatch(r"(.+) \d+", name)
    return match[1] if match else ""


def _number_of(name: str, names: Sequence[str]) -> int:
    stem = _stem(name)
    return names.index(stem) if stem in names else -1


def _legend(names: Sequence[str]) -> str:
    words = " ".join(
        f'<span class="key series{index % _COLOURS}" data-row="{escape(name)}">'
        f"{escape(name)}</span>"
        for index, name in enumerate(names)
    )
    return f'<p class="legend">{words}</p>' if names else ""


def ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers, some five of them, from one at or below `lowest` to one at or above `highest`.

    >>> ticks(9.3, 97.2), ticks(72, 576), ticks(0, 0)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 200.0, 400.0, 600.0], [0.0, 1.0])
    """
    rough = (highest - lowest) / _STEPS or max(abs(highest), 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


def _figure(name: str, points: Sequence[_Point], names: Sequence[str]) -> str:
    """One plot; the dashed line joins rows that no other one beats with as few tokens.

    `names` are those of the series.
    """
    edges = [
        edge for point in points for edge in (point.value.value, point.value.low, point.value.high)
    ]
    finite = [edge for edge in edges if math.isfinite(edge)]
    tokens = [point.tokens for point in points]
    across, up = ticks(min(tokens), max(tokens)), ticks(min(finite), max(finite))
    x = _scale(across, _LEFT, _WIDTH - _RIGHT)
    y = _scale(up, _HEIGHT - _BOTTOM, _TOP)
    marks = [*_axes(across, up, x, y), _frontier(points, x, y)]
    for index, stem in enumerate(names):
        of_series = sorted(
            (point for point in points if point.series == index), key=lambda point: point.tokens
        )
        corners = " ".join(
            f"{_shifted(x, point, len(names)):.1f},{y(point.value.value):.1f}"
            for point in of_series
        )
        marks.append(
            f'<polyline class="line series{index % _COLOURS}" data-row="{escape(stem)}" '
            f'points="{corners}"/>'
        )
    for point in points:
        marks += _mark(point, _shifted(x, point, len(names)), y)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(name)} against visual tokens">{"".join(marks)}'
        f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"visual tokens a picture</text></svg><figcaption>{escape(name)}</figcaption></figure>"
    )


def _scale(marks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """From the figures of an axis to pixels."""
    first, last = marks[0], marks[-1]
    return lambda value: start + (value - first) / (last - first) * (end - start)


def _shifted(x: Callable[[float], float], point: _Point, series: int) -> float:
    """Series lie a little apart, so that intervals at one budget do not cover each other."""
    shift = 0.0 if point.series < 0 else (point.series - (series - 1) / 2) * _APART
    return x(point.tokens) + shift


def _axes(
    across: Sequence[float],
    up: Sequence[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    rules = [
        f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" '
        f'y2="{y(value):.1f}"/><text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" '
        f'text-anchor="end">{value:.4g}</text>'
        for value in up
    ]
    return rules + [
        f'<text x="{x(value):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
        f"{value:.6g}</text>"
        for value in across
    ]


def _frontier(
    points: Sequence[_Point], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    best, corners = -math.inf, []
    for point in sorted(points, key=lambda point: (point.tokens, -point.value.value)):
        if point.value.value > best:
            best = point.value.value
            corners.append(f"{x(point.tokens):.1f},{y(best):.1f}")
    return f'<polyline class="frontier" points="{" ".join(corners)}"/>'


def _mark(point: _Point, x: float, y: Callable[[float], float]) -> list[str]:
    colour = f" series{point.series % _COLOURS}" if point.series >= 0 else ""
    value = point.value
    row = f'data-row="{escape(point.row.name)}" data-kind="{point.row.kind}"'
    said = f"{point.row.name}: {number(value.value)} with {number(point.tokens, 1)} tokens"
    marks = []
    if math.isfinite(value.low):
        said += f", {number(value.low)} to {number(value.high)}"
        marks.append(
            f'<line class="interval{colour}" {row} x1="{x:.1f}" x2="{x:.1f}" '
            f'y1="{y(value.low):.1f}" y2="{y(value.high):.1f}"/>'
        )
    circle = f'<circle class="{point.row.kind}{colour}" {row} cx="{x:.1f}"'
    title = f"<title>{escape(said)}</title>"
    return [*marks, f'{circle} cy="{y(value.value):.1f}" r="5">{title}</circle>']

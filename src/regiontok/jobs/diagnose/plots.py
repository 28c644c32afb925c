"""Line plots as inline SVG in the colours of the page, so that they follow its light or dark scheme.

Matplotlib would fix the colours and could not name a curve under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: its name, shown under the pointer.
        style: its CSS class.
        points: its points (x, y).
    """

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        title: the text along it.
        ticks: its ticks as (value, label).
        ends: its lowest and highest value; None takes the first and the last tick.
        log: whether it is logarithmic.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]
    ends: tuple[float, float] | None = None
    log: bool = False

    def projection(self, start: float, end: float) -> Callable[[float], float]:
        """A function from values to coordinates between `start` and `end`.

        Values beyond the ends of the axis are drawn at its ends.
        """
        lowest, highest = self.ends or (self.ticks[0][0], self.ticks[-1][0])
        scale = math.log10 if self.log else float
        span = scale(highest) - scale(lowest)

        def project(value: float) -> float:
            share = (scale(min(max(value, lowest), highest)) - scale(lowest)) / span
            return start + share * (end - start)

        return project


def line_plot(title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """An `svg` element with axes, a light grid and the curves.

    Each curve shows its name under the pointer, and each point its numbers.

    >>> axis = Axis("", ((0, "0"), (1, "1")))
    >>> line_plot("a", axis, axis, [Curve("b & c", "s0", ((0, 0), (1, 1)))]).count("b &amp; c")
    3
    """
    place_x, place_y = x.projection(LEFT, WIDTH - RIGHT), y.projection(HEIGHT - BOTTOM, TOP)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    elements = [f'<svg class="plot" {size} role="img" aria-label="{escape(title)}">']
    for value, label in y.ticks:
        line = place_y(value)
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{line:.1f}" y2="{line:.1f}"'
        elements.append(f'<line class="rule" {ends}/>')
        elements.append(_text(LEFT - 8, f"{line + 4:.1f}", label, anchor="end"))
    for value, label in x.ticks:
        elements.append(_text(f"{place_x(value):.1f}", HEIGHT - BOTTOM + 18, label))
    middle = f"{(LEFT + WIDTH - RIGHT) / 2:.0f}"
    elements.append(_text(middle, HEIGHT - 6, x.title, attributes='class="axis" '))
    for curve in curves:
        elements += _curve(curve, [(place_x(a), place_y(b)) for a, b in curve.points])
    return "".join([*elements, "</svg>"])


def _text(
    x: float | str, y: float | str, text: str, *, anchor: str = "middle", attributes: str = ""
) -> str:
    return f'<text {attributes}x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _curve(curve: Curve, places: Sequence[tuple[float, float]]) -> Iterator[str]:
    """A curve as a group of a line and, if they are few, its points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<g class="curve {curve.style}"><title>{escape(curve.name)}</title>'
    yield f'<polyline points="{path}"/>'
    if len(places) <= 12:
        for (x, y), (value, height) in zip(places, curve.points, strict=True):
            tooltip = escape(f"{curve.name}: {height:.4g} at {value:g}")
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{tooltip}</title></circle>'
    yield "</g>"


def even_ticks(
    lowest: float, highest: float, label: Callable[[float], str] = "{:g}".format
) -> tuple[tuple[float, str], ...]:
    """Round numbers from at most `lowest` to at least `highest`, three to seven of them.

    >>> [label for _, label in even_ticks(-0.03, 0.71)]
    ['-0.2', '0', '0.2', '0.4', '0.6', '0.8']
    """
    span = max(highest - lowest, 1e-9)
    power = 10 ** math.floor(math.log10(span))
    step = next(size * power for size in (0.2, 0.5, 1, 2) if span / (size * power) <= 5)
    start, end = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    return tuple(
        (number * step, label(round(number * step, 10)))
        for number in range(start, max(end, start + 1) + 1)
    )

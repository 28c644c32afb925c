"""Line plots as inline SVG: the colours are the page's, so that they follow its light or dark
scheme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDE, HIGH = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44


@dataclass(frozen=True)
class Curve:
    """One line: its name (shown on hover), its CSS class, and its points."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Axis:
    """One axis: what it shows, and its ticks as (place, label); their first and last are its ends
    unless `ends` says otherwise."""

    title: str
    ticks: tuple[tuple[float, str], ...]
    ends: tuple[float, float] | None = None
    log: bool = False

    def place(self, low: float, high: float) -> Callable[[float], float]:
        """Value -> coordinate between `low` and `high`; what lies beyond the ends is drawn at
        them."""
        first, last = self.ends or (self.ticks[0][0], self.ticks[-1][0])
        scale = math.log10 if self.log else float
        start, span = scale(first), scale(last) - scale(first)
        return lambda value: (
            low + (scale(min(max(value, first), last)) - start) / span * (high - low)
        )


def line_plot(title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """An `svg` element with axes, a light grid and the curves; each point says its curve and
    numbers on hover.

    >>> axis = Axis("", ((0, "0"), (1, "1")))
    >>> line_plot("a", axis, axis, [Curve("b & c", "s0", ((0, 0), (1, 1)))]).count("b &amp; c")
    3
    """
    at_x, at_y = x.place(LEFT, WIDE - RIGHT), y.place(HIGH - BOTTOM, TOP)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(title)}">'
    ]
    for value, label in y.ticks:
        line = at_y(value)
        parts.append(
            f'<line class="rule" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{line:.1f}" y2="{line:.1f}"/>'
        )
        parts.append(
            f'<text x="{LEFT - 8}" y="{line + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    for value, label in x.ticks:
        parts.append(
            f'<text x="{at_x(value):.1f}" y="{HIGH - BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDE - RIGHT) / 2:.0f}" y="{HIGH - 6}" text-anchor="middle">{escape(x.title)}</text>'
    )
    for curve in curves:
        places = [(at_x(a), at_y(b)) for a, b in curve.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(
            f'<g class="curve {curve.style}"><title>{escape(curve.name)}</title><polyline points="{path}"/>'
        )
        if len(places) <= 12:
            for (a, b), (value, height) in zip(places, curve.points, strict=True):
                told = escape(f"{curve.name}: {height:.4g} at {value:g}")
                parts.append(
                    f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"><title>{told}</title></circle>'
                )
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def even_ticks(
    low: float, high: float, label: Callable[[float], str] = "{:g}".format
) -> tuple[tuple[float, str], ...]:
    """Round numbers from at most `low` to at least `high`, three to seven of them.

    >>> [label for _, label in even_ticks(-0.03, 0.71)]
    ['-0.2', '0', '0.2', '0.4', '0.6', '0.8']
    """
    span = max(high - low, 1e-9)
    power = 10 ** math.floor(math.log10(span))
    step = next(size * power for size in (0.2, 0.5, 1, 2) if span / (size * power) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(
        (number * step, label(round(number * step, 10)))
        for number in range(first, max(last, first + 1) + 1)
    )

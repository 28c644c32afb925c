"""Marks of a figure in matplotlib's terms: colours, text that is measured, ticks and strokes."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from regiontok.draw._wrap import wrapped
from regiontok.draw.maps import Scale
from regiontok.system.need import need

FONT = "DejaVu Sans"  # comes with matplotlib, so that it is the same on every machine


def even_ticks(scale: Scale, width: int, size: int) -> list[tuple[float, str]]:
    """Round numbers of a colour bar, and how each is aligned below its tick.

    Args:
        scale: the numbers of the bar.
        width: pixels of the bar.
        size: the font size of the numbers in pixels; those that would touch are left out.
    """
    ticker = need("matplotlib.ticker", extra="plot")
    locator = ticker.MaxNLocator(max(2, width // 70), steps=(1, 2, 5, 10))
    ticks, end = [], 0.0
    for value in locator.tick_values(scale.low, scale.high).tolist():
        place = width * (value - scale.low) / (scale.high - scale.low)
        half = text_width(f"{value + 0.0:g}", size, bold=False) / 2
        side = "left" if place < half else "right" if place > width - half else "center"
        start = place - {"left": 0, "center": half, "right": 2 * half}[side]
        if 0 <= place <= width and start >= end:
            ticks.append((value, side))
            end = start + 2 * half + size / 3
    return ticks


def strokes(
    ends: Any, transform: Any, colour: tuple[int, int, int], width: float, **settings: Any
) -> Any:
    """Straight lines `[(x, y), (x, y), ...]`, each between two of the ends, as one path.

    One path, because translucent lines of their own would be darker where they cross.
    """
    path = need("matplotlib.path", extra="plot").Path
    settings |= {"edgecolor": shares(colour), "linewidth": width, "transform": transform}
    codes = [path.MOVETO, path.LINETO] * (len(ends) // 2)
    patch = need("matplotlib.patches", extra="plot").PathPatch
    return patch(path(ends, codes), fill=False, capstyle="projecting", **settings)


def text_lines(
    text: str, size: int, room: float, *, bold: bool = True, most: int = 99
) -> list[str]:
    """The text in lines of at most `room` pixels, and at most `most` lines."""
    return wrapped(text, room, partial(text_width, size=size, bold=bold), most=most)


@cache
def text_width(text: str, size: int, bold: bool) -> float:
    """Pixels that a line of text takes."""
    fonts = need("matplotlib.font_manager", extra="plot")
    font = fonts.FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    measure = need("matplotlib.textpath", extra="plot").text_to_path
    return float(measure.get_text_width_height_descent(text, font, False)[0])


def shares(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """The colour in matplotlib's shares of 1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255

"""Means with their intervals, a row for each thing compared, and a column for each measure.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from regiontok.core.formats import open_image
from regiontok.draw.plot import DPI, FAINT, INK, STYLES
from regiontok.system.need import need

_ROW, _COLUMN, _HEAD = 0.3, 1.9, 1.0  # inches
_NAMES, _LETTER = 2.6, 0.07  # inches of the shortest column of names, and of a letter in it


@dataclass(frozen=True)
class IntervalRow:
    """One row of the drawing.

    Attributes:
        name: what it is called.
        values: (mean, half of the interval's width) of each column; a half of NaN draws none.
        is_base: whether the other rows are compared with it.
    """

    name: str
    values: tuple[tuple[float, float], ...]
    is_base: bool = False


def draw_intervals(
    rows: Sequence[IntervalRow], columns: Sequence[str], *, title: str
) -> Image.Image:
    """Rows of dots with whiskers; a line in each column goes through the row compared with.

    Args:
        rows: the rows, from top to bottom.
        columns: titles of the columns.
        title: the title of the whole.

    Raises:
        ValueError: If there are no rows or columns.
        MissingPackage: If matplotlib is not installed.
    """
    if not rows or not columns:
        raise ValueError(f"expected rows and columns, got {len(rows)} and {len(columns)}")
    names = max(_NAMES, _LETTER * max(len(row.name) for row in rows))
    size = names + _COLUMN * len(columns), _HEAD + _ROW * len(rows)
    figure = need("matplotlib.figure", extra="plot").Figure(figsize=size, dpi=DPI)
    need("matplotlib.backends.backend_agg", extra="plot").FigureCanvasAgg(figure)
    heights = list(range(len(rows)))[::-1]
    axes_of_columns = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    for number, (axes, column) in enumerate(zip(axes_of_columns, columns, strict=True)):
        for row, height in zip(rows, heights, strict=True):
            mean, half = row.values[number]
            colour = INK if row.is_base else STYLES[0][0]
            axes.errorbar(mean, height, xerr=half, fmt="o", color=colour, capsize=2.5, ms=4, lw=1.2)
            if row.is_base:
                axes.axvline(mean, color=FAINT, zorder=0)
        axes.set_title(column, fontsize=8.5, color=INK)
        axes.set_yticks(heights, [row.name for row in rows], fontsize=8.5)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.15)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, color=INK)
    left, top = names / size[0], 1 - 0.62 / size[1]
    figure.subplots_adjust(left=left, right=0.98, top=top, bottom=0.3 / size[1], wspace=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return open_image(buffer.getvalue(), ("PNG",)).convert("RGB")

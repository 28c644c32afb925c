"""Figures for a paper: a labelled grid of panels, drawn by matplotlib as PNG and as SVG.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image

from regiontok.core.formats import open_image
from regiontok.draw._marks import FONT, even_ticks, shares, strokes, text_lines
from regiontok.draw.maps import Line, Scale
from regiontok.draw.sheet import GREY, INK, PAPER, RULE
from regiontok.system.drawn import MARK
from regiontok.system.need import need

WIDTH = 1600  # pixels at most; on a page of 860 letters are then 10 pixels high
MARGIN, GUTTER, ROW_GAP = 40, 14, 16  # pixels
TITLE, HEAD, SMALL = 30, 20, 16  # font sizes in pixels
LEADING = 1.3  # from one line to the next, in font sizes
ROW_TITLE_LINES = 3  # a longer row title is shortened
LARGEST = 420  # pixels of a panel: few columns make a narrower figure
BAR, TICK = 14, 5  # pixels: height of a colour scale, length of its ticks
# A border is a light line on a dark, translucent one.
LIGHT, DARK, SHADE = (255, 255, 255), (10, 12, 16), 0.45
# 72 dots an inch make one point one pixel. Letters of an SVG stay text; DejaVu Sans comes with
# matplotlib and is wider than most fonts that may stand in for it, so that lines stay in place.
STYLE = {
    "figure.dpi": 72,
    "font.family": FONT,
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "regiontok",
    "svg.image_inline": True,
    "savefig.bbox": None,
}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure.

    Attributes:
        image: the picture; its longer side is drawn at `panel_side` pixels.
        lines: borders on it, in shares of its width and height.
        caption: the text under it.
        scale: the meaning of its colours; drawn under it, unless a panel further down its column
            has the same.
    """

    image: Image.Image
    lines: Sequence[Line] = ()
    caption: str = ""
    scale: Scale | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """Rows of panels with their headings; None leaves a place of the grid empty.

    Attributes:
        rows: the panels; all rows have one length.
        heads: a heading for each column.
        titles: a title beside each row; neighbours with the same title share it.
        groups: a heading over several columns, or ""; equal neighbours share one.
        title: the text above everything.
        note: the text below everything.
        letters: whether to put (a), (b) ... before the column heads.

    Raises:
        ValueError: If there is no panel, if rows differ in length, or if the number of headings is
            not that of the columns or rows.
    """

    rows: Sequence[Sequence[Panel | None]]
    heads: Sequence[str]
    titles: Sequence[str]
    groups: Sequence[str] = ()
    title: str = ""
    note: str = ""
    letters: bool = False

    def __post_init__(self) -> None:
        columns = len(self.heads)
        if not any(panel for row in self.rows for panel in row):
            raise ValueError("expected at least one panel, got none")
        lengths = {len(row) for row in self.rows}
        if lengths != {columns} or len(self.groups) not in (0, columns):
            raise ValueError(
                f"expected {columns} panels a row, as many as heads; got {sorted(lengths)}, and "
                f"{len(self.groups)} groups"
            )
        if len(self.titles) != len(self.rows):
            raise ValueError(
                f"expected a title for each of {len(self.rows)} rows, got {len(self.titles)}"
            )


def panel_side(columns: int) -> int:
    """Pixels of a panel's longer side in a figure of so many columns: drawn so, it stays crisp.

    >>> panel_side(2), panel_side(5)
    (420, 275)
    """
    room = WIDTH - 2 * MARGIN - _beside_rows(ROW_TITLE_LINES) - (columns - 1) * GUTTER
    return min(LARGEST, room // columns)


def draw_png(figure: Figure) -> Image.Image:
    """The figure in pixels."""
    return open_image(_saved(figure, "png", {"Software": None}), ("PNG",)).convert("RGB")


def draw_svg(figure: Figure) -> str:
    """The figure as an SVG text that holds its photos; the same figure gives the same text.

    Panels are groups with the ids panel-0, panel-1, ..., colour scales scale-0, scale-1, ....
    """
    return _saved(figure, "svg", {"Date": None, "Creator": MARK}).decode()


def _saved(figure: Figure, suffix: str, metadata: dict[str, str | None]) -> bytes:
    file = io.BytesIO()
    with need("matplotlib", extra="plot").rc_context(STYLE):
        lay_out(figure).savefig(file, format=suffix, facecolor=shares(PAPER), metadata=metadata)
    return file.getvalue()


def lay_out(figure: Figure) -> Any:
    """The figure as a `matplotlib.figure.Figure`, one point a pixel.

    Raises:
        MissingPackage: If matplotlib is not installed.
    """
    with need("matplotlib", extra="plot").rc_context(STYLE):
        page = _Page(figure)
        page.fill()
        return page.canvas


def _beside_rows(lines: int) -> int:
    """Pixels that row titles of so many lines take, with the gap behind them."""
    return round(LEADING * HEAD * lines) + 8 if lines else 0


class _Page:
    """A canvas that is filled from top to bottom, in pixels from its upper left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure, self.side = figure, panel_side(len(figure.heads))
        self.canvas = need("matplotlib.figure", extra="plot").Figure()
        need("matplotlib.backends.backend_agg", extra="plot").FigureCanvasAgg(self.canvas)
        self.pixels = need("matplotlib.transforms", extra="plot").Affine2D()  # `_cut` sets it
        self.boxes: list[tuple[Any, float, float, float, float]] = []  # axes, x, y, width, height
        self.images = [
            [self._fitted(panel) if panel else None for panel in row] for row in figure.rows
        ]
        self.heights = [max((im.height for im in row if im), default=0) for row in self.images]
        self.row_titles = [
            (
                text_lines(title, HEAD, sum(self.heights[i] for i in rows), most=ROW_TITLE_LINES),
                rows,
            )
            for title, rows in _runs(figure.titles)
        ]
        first = MARGIN + _beside_rows(max(len(title) for title, _ in self.row_titles))
        self.lefts = [first + j * (self.side + GUTTER) for j in range(len(figure.heads))]
        self.width = self.lefts[-1] + self.side - MARGIN

    def fill(self) -> None:
        """Draw everything."""
        figure = self.figure
        title = text_lines(figure.title, TITLE, self.width)
        y = self._write(title, MARGIN, MARGIN, TITLE, bold=True)
        if any(figure.groups):
            y = self._headings(_runs(figure.groups), y, ruled=True) + HEAD / 2
        letters = [f"({chr(ord('a') + j % 26)}) " * figure.letters for j in range(len(self.lefts))]
        heads = [letter + head for letter, head in zip(letters, figure.heads, strict=True)]
        y = self._headings([(head, [j]) for j, head in enumerate(heads)], y)
        tops = []
        for i, height in enumerate(self.heights):
            tops.append(y)
            y = max(y + height, *(self._panel(i, j, y) for j in range(len(heads)))) + ROW_GAP
        for lines, rows in self.row_titles:
            middle = (tops[rows[0]] + tops[rows[-1]] + self.heights[rows[-1]]) / 2
            upright: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center"}
            self._write(lines, self.lefts[0] - 8, middle, HEAD, bold=True, **upright)
        if note := text_lines(figure.note, SMALL, self.width, bold=False):
            y = self._write(note, MARGIN, y + ROW_GAP, SMALL, GREY) + ROW_GAP
        self._cut(self.width + 2 * MARGIN, round(y) + MARGIN - ROW_GAP)

    def _fitted(self, panel: Panel) -> Image.Image:
        """The panel's picture, made smaller if its longer side is more than a panel's."""
        image = panel.image.convert("RGB")
        image.thumbnail((self.side, self.side), Image.Resampling.LANCZOS, reducing_gap=None)
        return image

    def _headings(
        self, spans: Sequence[tuple[str, list[int]]], y: float, *, ruled: bool = False
    ) -> float:
        """Headings over columns, all ending on one line; the y below them."""
        boxes = [(self.lefts[run[0]], self.lefts[run[-1]] + self.side) for _, run in spans]
        texts = [
            text_lines(text, HEAD, right - left)
            for (text, _), (left, right) in zip(spans, boxes, strict=True)
        ]
        bottom = y + LEADING * HEAD * max(map(len, texts)) + 4
        for lines, (left, right) in zip(texts, boxes, strict=True):
            top = bottom - 4 - LEADING * HEAD * len(lines)
            self._write(lines, (left + right) / 2, top, HEAD, bold=True, ha="center")
            if lines and ruled:
                ends = [(left, bottom), (right, bottom)]
                self.canvas.add_artist(strokes(ends, self.pixels, GREY, 1))
        return bottom

    def _panel(self, i: int, j: int, y: float) -> float:
        """Panel j of row i with its borders, caption and colour scale; the y below all of it."""
        panel, image, left = self.figure.rows[i][j], self.images[i][j], self.lefts[j]
        if panel is None or image is None:
            return y
        (width, height), x = image.size, left + (self.side - image.width) // 2
        axes = self._axes("panel", x, y, width, height)
        axes.imshow(np.asarray(image), interpolation="none", aspect="auto", extent=(0, 1, 1, 0))
        axes.spines[:].set_color(shares(RULE))
        if panel.lines:
            # Finer where there are more of them, so that a fine mesh does not hide the photo.
            long = sum(
                abs(x1 - x0) * width + abs(y1 - y0) * height for x0, y0, x1, y1 in panel.lines
            )
            weight = min(2.5, max(0.7, width * height / max(long, 1.0) / 12))
            ends = np.reshape(panel.lines, (-1, 2))
            axes.add_patch(strokes(ends, axes.transData, DARK, 2 * weight, alpha=SHADE))
            axes.add_patch(strokes(ends, axes.transData, LIGHT, weight))
        y += height
        if panel.caption:
            lines = text_lines(panel.caption, SMALL, left + self.side - x, bold=False)
            y = self._write(lines, x, y + 6, SMALL, GREY)
        below = [row[j] for row in self.figure.rows[i + 1 :]]
        if panel.scale and all(panel.scale != other.scale for other in below if other):
            y = self._scale(panel.scale, left, y + 8)
        return y

    def _scale(self, scale: Scale, x: float, y: float) -> float:
        """A colour bar with numbers and its label below; the y below them."""
        axes = self._axes("scale", x, y, self.side, BAR)
        ramp = scale.colours(np.linspace(scale.low, scale.high, self.side))[None]
        axes.imshow(ramp, interpolation="none", aspect="auto", extent=(scale.low, scale.high, 0, 1))
        axes.spines[:].set_visible(False)
        ticks = even_ticks(scale, self.side, SMALL)
        axes.set_xticks([value for value, _ in ticks], [f"{value + 0.0:g}" for value, _ in ticks])
        axes.tick_params(length=TICK, labelsize=SMALL, pad=2, colors=shares(GREY))
        for (_, side), label in zip(ticks, axes.get_xticklabels(), strict=True):
            label.set_ha(side)
        y += BAR + TICK + LEADING * SMALL
        lines = text_lines(scale.label, SMALL, self.side, bold=False)
        return self._write(lines, x + self.side / 2, y, SMALL, GREY, ha="center")

    def _axes(self, name: str, x: float, y: float, width: float, height: float) -> Any:
        axes = self.canvas.add_axes((0, 0, 1, 1), label=str(len(self.boxes)))
        axes.set_gid(f"{name}-{sum(box[0].get_gid().startswith(name) for box in self.boxes)}")
        axes.set(xticks=[], yticks=[])
        self.boxes.append((axes, x, y, width, height))
        return axes

    def _write(
        self,
        lines: Sequence[str],
        x: float,
        y: float,
        size: int,
        colour: tuple[int, int, int] = INK,
        *,
        bold: bool = False,
        **settings: Any,
    ) -> float:
        """Lines downwards from y, the upper end of the first; the y below them."""
        settings = {"va": "top", "weight": "bold" if bold else "normal", **settings}
        settings |= {"size": size, "color": shares(colour), "transform": self.pixels}
        self.canvas.text(x, y, "\n".join(lines), **settings)
        return y + LEADING * size * len(lines)

    def _cut(self, width: int, height: int) -> None:
        """Give the canvas its size, now that it is known, and everything its place on it."""
        self.canvas.set_size_inches(width / 72, height / 72)
        self.pixels.scale(1, -1).translate(0, height)
        for axes, x, y, w, h in self.boxes:
            axes.set_position((x / width, 1 - (y + h) / height, w / width, h / height))


def _runs(texts: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Each run of equal neighbours: the text, and the indices where it stands."""
    return [(text, list(run)) for text, run in groupby(range(len(texts)), texts.__getitem__)]

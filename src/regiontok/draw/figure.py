"""Figures for a paper: a labelled grid of panels, as PNG and as SVG from one layout.

`_arrange.py` decides where everything stands and gives a `Sheet` of marks; `figure_png` and
`figure_svg` only put them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from regiontok.draw.maps import Line, Scale
from regiontok.draw.sheet import GREY, INK

WIDE = 1600  # pixels; on a page of 860 letters are then 10 pixels high
MARGIN, GUTTER, ROW_GAP = 40, 14, 14
TITLE, HEAD, CAPTION, NUMBER = 34, 23, 18, 18  # letters in pixels
SIDE = 82  # room for a row's title, upright in the left margin: three small lines
PITCH = 1.25  # from one line of a row's title to the next, in letter sizes
LARGEST = 420  # pixels of a panel: few columns make a narrower figure
BAR, TICK, SHORTEST = 14, 5, 120  # height of a colour scale, length of its ticks, its least width
LIGHT, DARK, SHADE = (
    (255, 255, 255),
    (10, 12, 16),
    0.45,
)  # a border: a light line on a dark, translucent one


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure.

    Attributes:
        image: drawn at `panel_side` pixels; a larger one is made smaller.
        lines: borders on it, in shares of its width and height.
        caption: under it.
        scale: what its colours mean; drawn under it, unless a panel further down has the same.
    """

    image: Image.Image
    lines: Sequence[Line] = ()
    caption: str = ""
    scale: Scale | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """Rows of panels, None for an empty place, with what stands around them.

    Attributes:
        rows: all of one length.
        heads: over each column; equal neighbours in `groups` share one heading above the heads.
        titles: beside each row; neighbours with the same title share it.
        groups: a heading over several columns, or "".
        title, note: over and under all.
        letters: put (a), (b) ... before the heads.

    Raises:
        ValueError: no panel, rows of several lengths, or headings of another number than columns or
            rows.
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
        if {len(row) for row in self.rows} != {columns} or (
            self.groups and len(self.groups) != columns
        ):
            lengths = sorted({len(row) for row in self.rows})
            raise ValueError(
                f"expected {columns} panels a row, as many as heads; got {lengths}, and {len(self.groups)} groups"
            )
        if len(self.titles) != len(self.rows):
            raise ValueError(
                f"expected a title for each of {len(self.rows)} rows, got {len(self.titles)}"
            )


@dataclass(frozen=True)
class Words:
    """One line of text from (x, y) of its base line's start; `upright` text runs upwards from
    there."""

    x: float
    y: float
    text: str
    size: int
    ink: tuple[int, int, int] = INK
    bold: bool = False
    upright: bool = False


@dataclass(frozen=True, eq=False)
class Placed:
    """A panel's picture at (x, y), of (wide, high) pixels; borders of `weight` pixels."""

    x: int
    y: int
    wide: int
    high: int
    panel: Panel
    weight: float


@dataclass(frozen=True)
class Bar:
    """A colour scale at (x, y), `wide` pixels long; its ticks are below."""

    x: int
    y: int
    wide: int
    scale: Scale


@dataclass(frozen=True)
class Stroke:
    """A thin straight line."""

    x0: float
    y0: float
    x1: float
    y1: float
    ink: tuple[int, int, int] = GREY


@dataclass(frozen=True, eq=False)
class Sheet:
    """What stands where, in pixels."""

    wide: int
    high: int
    words: list[Words] = field(default_factory=list)
    pictures: list[Placed] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)


def panel_side(columns: int) -> int:
    """Pixels of the longer side of a panel in a figure of so many columns: pictures drawn at that
    size stay crisp.

    >>> panel_side(2), panel_side(5)
    (420, 276)
    """
    return min(LARGEST, (WIDE - 2 * MARGIN - SIDE - (columns - 1) * GUTTER) // columns)

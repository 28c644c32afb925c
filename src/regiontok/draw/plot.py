"""Line plots for a paper: a few panels that share their lines' colours, markers and one legend.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from regiontok.core.formats import open_image
from regiontok.system.need import need

# Okabe and Ito's colours, told apart without colour vision too, then four more; each with a marker
# of its own.
STYLES = (
    ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#D55E00", "D"), ("#CC79A7", "v"),
    ("#56B4E9", "p"), ("#000000", "h"), ("#9A8F00", "<"), ("#7F7F7F", "d"), ("#A6761D", ">"),
    ("#5E3C99", "H"),
)  # fmt: skip
INK, FAINT = "#18191e", "#dededa"
PANEL_WIDTH, PANEL_HEIGHT, DPI = 3.7, 3.3, 200  # inches, inches, pixels an inch
MARKED = 24  # points of a line that are marked; more of them would hide it


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        name: its name in the legend; the same name has the same colour in every panel.
        x: the points' places.
        y: the points' values.
        bold: whether it is drawn with weight.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    bold: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: the text above it.
        x: the label of its x axis.
        y: the label of its y axis.
        lines: its lines.
        log: whether y is logarithmic.
        low: where y begins; a line is cut off below. None fits the lines.
        doubling: whether x is logarithmic to the base 2.
    """

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log: bool = False
    low: float | None = None
    doubling: bool = True


def draw_panels(panels: Sequence[Panel], *, title: str, subtitle: str = "") -> Image.Image:
    """Panels side by side under one title, one legend below.

    A line keeps its colour and marker from panel to panel; a line of one point is a marker. Nothing
    global of matplotlib is touched.

    Raises:
        ValueError: If there are no panels or lines, or more different lines than styles.
        MissingPackage: If matplotlib is not installed.
    """
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    if not names:
        raise ValueError("expected at least one panel with a line, got none")
    if len(names) > len(STYLES):
        raise ValueError(f"{len(names)} lines cannot be told apart; draw at most {len(STYLES)}")
    styles = dict(zip(names, STYLES, strict=False))
    columns = min({1: 2, 2: 4}.get(len(panels), 5), len(names))
    rows = -(-len(names) // columns)
    size = PANEL_WIDTH * len(panels) + 0.3, PANEL_HEIGHT + 0.85 + 0.2 * rows
    figure = need("matplotlib.figure", extra="plot").Figure(figsize=size, dpi=DPI)
    need("matplotlib.backends.backend_agg", extra="plot").FigureCanvasAgg(figure)
    inches = figure.get_figheight()
    handles: dict[str, Any] = {}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        handles |= _draw_panel(axes, panel, styles)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
    )
    # a bold letter is about .7 of its points wide
    points = min(12.5, 100 * size[0] / max(len(title), 1))
    figure.text(
        0.012, 1 - 0.1 / inches, title, fontsize=points, fontweight="bold", color=INK, va="top"
    )
    figure.text(0.012, 1 - 0.37 / inches, subtitle, fontsize=8.5, color="#686c74", va="top")
    figure.tight_layout(
        rect=(0, (0.08 + 0.2 * rows) / inches, 1, 1 - (0.52 if subtitle else 0.36) / inches),
        w_pad=1.6,
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    return open_image(file.getvalue(), ("PNG",)).convert("RGB")


def _draw_panel(axes: Any, panel: Panel, styles: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Draw one panel; return the handles of its lines by name."""
    handles = {}
    for line in panel.lines:
        colour, marker = styles[line.name]
        points = sorted(zip(line.x, line.y, strict=True))
        (handles[line.name],) = axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            marker=marker if len(points) <= MARKED else "",
            linewidth=(2.4 if line.bold else 1.3) if len(points) > 1 else 0,
            markersize=6.5 if line.bold or len(points) == 1 else 5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=3 if line.bold else 2,
        )
    ticker = need("matplotlib.ticker", extra="plot")
    if panel.doubling:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    elif all(float(x).is_integer() for line in panel.lines for x in line.x):
        axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if panel.low is not None:
        axes.set_ylim(bottom=panel.low)
    axes.set_title(panel.title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(panel.x, fontsize=9, color=INK)
    axes.set_ylabel(panel.y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=3, which="both")
    axes.grid(True, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return handles

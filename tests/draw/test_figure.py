"""Figures: every panel with its photo, scales where they are needed, and words in their places."""

from __future__ import annotations

import base64
import io
import re
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from regiontok.draw.figure import WIDTH, Figure, Panel, draw_png, draw_svg, lay_out, panel_side
from regiontok.draw.maps import VIRIDIS, Scale
from regiontok.system.need import MissingPackage

pytest.importorskip("matplotlib")

SVG, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
RED = (250, 0, 0)


def panel(size=(120, 80), **fields) -> Panel:
    return Panel(Image.new("RGB", size, RED), **fields)


def groups(svg: str, kind: str) -> list[ET.Element]:
    return [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("id", "").startswith(f"{kind}-")]


def boxes(canvas, kind: str) -> list:
    """Where panels or scales lie, in pixels from the lower left corner."""
    drawn = [axes for axes in canvas.axes if axes.get_gid().startswith(kind)]
    return [axes.get_window_extent() for axes in drawn]


def words(canvas) -> dict[str, list]:
    """The extents of every text, tick labels included."""
    canvas.canvas.draw()
    texts = [*canvas.texts, *(label for axes in canvas.axes for label in axes.get_xticklabels())]
    extents: dict[str, list] = {}
    for text in texts:
        if text.get_text():
            extents.setdefault(text.get_text(), []).append(text.get_window_extent())
    return extents


def overlap(box, other) -> bool:
    return (
        min(box.x1, other.x1) - max(box.x0, other.x0) > 0.5
        and min(box.y1, other.y1) - max(box.y0, other.y0) > 0.5
    )


@pytest.fixture
def figure() -> Figure:
    scale = Scale(0, 10, "L2 norm")
    rows = [
        [panel(caption="cat"), panel(lines=[(0.5, 0.0, 0.5, 1.0)]), panel(scale=scale)],
        [None, panel((60, 80), caption="7 regions"), panel(scale=scale)],
    ]
    return Figure(
        rows,
        heads=["photo", "a & b", "x < $y$"],
        titles=["rows", "rows"],
        groups=("", "both", "both"),
        title="Title",
        note="A note",
        letters=True,
    )


def test_svg_parses_and_holds_every_panel_with_its_photo_inside(figure):
    svg = draw_svg(figure)
    panels = groups(svg, "panel")
    assert len(panels) == 5
    for drawn in panels:
        (image,) = drawn.iter(f"{SVG}image")
        data = image.get(HREF).removeprefix("data:image/png;base64,")
        photo = Image.open(io.BytesIO(base64.b64decode(data)))
        assert photo.convert("RGB").getpixel((0, 0)) == RED
    assert not re.search(r'(href|src)="(?!data:|#)|url\((?!#)', svg), "nothing is fetched"
    texts = {node.text for node in ET.fromstring(svg).iter(f"{SVG}text")}
    heads = {"(a) photo", "(b) a & b", "(c) x < $y$"}
    assert {*heads, "both", "rows", "7 regions", "Title", "A note", "L2 norm"} <= texts


def test_png_and_svg_have_one_size_and_the_same_bytes_every_time(figure):
    drawn, svg = draw_png(figure), draw_svg(figure)
    assert ET.fromstring(svg).get("viewBox") == f"0 0 {drawn.width} {drawn.height}"
    assert svg == draw_svg(figure)
    assert drawn.tobytes() == draw_png(figure).tobytes()


def test_settings_of_matplotlib_neither_change_a_figure_nor_are_changed_by_it(figure):
    matplotlib = pytest.importorskip("matplotlib")
    drawn = draw_png(figure)
    with matplotlib.rc_context({"font.family": "serif", "savefig.bbox": "tight"}):
        settings = dict(matplotlib.rcParams)
        assert draw_png(figure).tobytes() == drawn.tobytes()
        assert dict(matplotlib.rcParams) == settings


def test_a_scale_is_drawn_once_under_the_last_panel_that_has_it(figure):
    (bar,) = boxes(lay_out(figure), "scale")
    assert len(groups(draw_svg(figure), "scale")) == 1
    last = boxes(lay_out(figure), "panel")[-1]
    assert bar.y1 < last.y0
    assert bar.x0 + bar.x1 == pytest.approx(last.x0 + last.x1)
    other = Figure([[panel(scale=Scale(0, 1))], [panel(scale=Scale(0, 2))]], ["head"], ["", ""])
    assert len(boxes(lay_out(other), "scale")) == 2


def test_the_bar_runs_from_the_lowest_colour_to_the_highest():
    figure = Figure([[panel(scale=Scale(0, 10))]], ["norm"], [""])
    drawn = np.asarray(draw_png(figure))
    (bar,) = boxes(lay_out(figure), "scale")
    middle = drawn[round(len(drawn) - (bar.y0 + bar.y1) / 2)]
    assert middle[round(bar.x0) + 1].tolist() == pytest.approx(VIRIDIS[0].tolist(), abs=3)
    assert middle[round(bar.x1) - 2].tolist() == pytest.approx(VIRIDIS[-1].tolist(), abs=3)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 16])
@pytest.mark.parametrize("ends", [(3, 24), (0.012, 0.031), (0, 2_000_000)])
def test_numbers_of_a_scale_stand_apart_and_within_their_column(columns, ends):
    row = [panel(scale=Scale(*ends))] * columns
    canvas = lay_out(Figure([row], [""] * columns, [""]))
    bars = boxes(canvas, "scale")
    canvas.canvas.draw()
    for axes, bar in zip(canvas.axes[1::2], bars, strict=True):
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(labels) >= (2 if columns < 16 else 1)
        assert not any(overlap(box, other) for box, other in combinations(labels, 2))
        assert all(bar.x0 - 3 <= label.x0 and label.x1 <= bar.x1 + 3 for label in labels)


def test_a_border_is_white_in_the_middle_of_its_panel():
    figure = Figure([[panel((121, 80), lines=[(0.5, 0.0, 0.5, 1.0)])]], ["regions"], [""])
    drawn = np.asarray(draw_png(figure)).astype(int)
    (box,) = boxes(lay_out(figure), "panel")
    left = round(box.x0)
    row = drawn[round(len(drawn) - (box.y0 + box.y1) / 2), left : left + 121]
    assert row[58:63].min(1).max() > 240
    assert (row[2:55] == RED).all()
    assert (row[66:119] == RED).all()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_words_and_panels_lie_on_the_page_and_not_on_one_another(columns):
    side = panel_side(columns)
    caption, scale = "a caption of several words " * 3, Scale(0.1, 0.9, "a label")
    row = [panel((side, side), caption=caption, scale=scale)] * columns
    figure = Figure(
        [row, row],
        heads=["transformers-clip-vit-large-patch14-336 layer=-2\n24 × 24"] * columns,
        titles=["a very long title of the first row " * 4, "second"],
        groups=["a group with a very long name " * 3, *["another"] * (columns - 1)],
        note="note " * 99,
    )
    canvas = lay_out(figure)
    width, height = canvas.get_size_inches() * 72
    assert width <= WIDTH
    texts = [box for same_text in words(canvas).values() for box in same_text]
    things = [*texts, *boxes(canvas, "panel"), *boxes(canvas, "scale")]
    for thing in things:
        assert min(thing.x0, thing.y0) >= 0
        assert thing.x1 <= width
        assert thing.y1 <= height
    assert not [pair for pair in combinations(things, 2) if overlap(*pair)]


def test_a_row_title_of_many_lines_ends_in_three_points():
    title = "one-two-three-four-five-six " * 4
    canvas = lay_out(Figure([[panel()]], ["head"], [title]))
    (drawn,) = [text.get_text() for text in canvas.texts if text.get_rotation() == 90]
    assert drawn.count("\n") == 2
    assert drawn.endswith("…")


def test_rows_with_one_title_share_it_and_a_portrait_stands_in_the_middle_of_its_column():
    canvas = lay_out(Figure([[panel((100, 50))], [panel((50, 100))]], ["head"], ["norm", "norm"]))
    (title,) = words(canvas)["norm"]
    landscape, portrait = boxes(canvas, "panel")
    assert landscape.x0 + landscape.x1 == pytest.approx(portrait.x0 + portrait.x1)
    assert (portrait.width, portrait.height) == pytest.approx((50, 100))
    middle = (landscape.y1 + portrait.y0) / 2
    assert (title.y0 + title.y1) / 2 == pytest.approx(middle, abs=2)


def test_pictures_are_made_smaller_but_never_larger():
    canvas = lay_out(Figure([[panel((2000, 1000)), panel((10, 10))]], ["", ""], [""]))
    sizes = [(round(box.width), round(box.height)) for box in boxes(canvas, "panel")]
    assert sizes == [(420, 210), (10, 10)]


@pytest.mark.parametrize(
    ("rows", "heads", "titles", "message"),
    [
        ([], ["a"], [], "at least one panel"),
        ([[None]], ["a"], [""], "at least one panel"),
        ([[panel()]], ["a", "b"], [""], r"2 panels a row, as many as heads; got \[1\]"),
        ([[panel()]], ["a"], [], "a title for each of 1 rows, got 0"),
    ],
)
def test_a_grid_that_is_none_is_refused(rows, heads, titles, message):
    with pytest.raises(ValueError, match=message):
        Figure(rows, heads, titles)


def test_without_matplotlib_the_extra_is_named(figure, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match=r"pip install 'regiontok\[plot\]'"):
        draw_png(figure)

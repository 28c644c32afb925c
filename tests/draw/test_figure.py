"""Figures: PNG and SVG of one layout, and scales where they are needed.

Nothing lies outside the sheet or on another thing.
"""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from regiontok.draw._arrange import arrange, folded
from regiontok.draw._text import width
from regiontok.draw.figure import CAPTION, HEAD, WIDE, Figure, Panel, panel_side
from regiontok.draw.figure_png import draw_png
from regiontok.draw.figure_svg import draw_svg
from regiontok.draw.maps import VIRIDIS, Scale

SVG = "{http://www.w3.org/2000/svg}"
RED = (250, 0, 0)


def panel(size=(120, 80), **more) -> Panel:
    return Panel(Image.new("RGB", size, RED), **more)


def groups(text: str, kind: str) -> list[ET.Element]:
    return [g for g in ET.fromstring(text).iter(f"{SVG}g") if g.get("class") == kind]


@pytest.fixture
def figure() -> Figure:
    scale = Scale(0, 10, "L2 norm")
    rows = [
        [panel(caption="cat"), panel(lines=[(0.5, 0.0, 0.5, 1.0)]), panel(scale=scale)],
        [None, panel((60, 80), caption="7 regions"), panel(scale=scale)],
    ]
    return Figure(
        rows,
        ["photo", "a & b", "x < y"],
        ["rows", "rows"],
        ("", "both", "both"),
        "Title",
        "A note",
        letters=True,
    )


def test_svg_parses_and_holds_every_panel_with_its_photo_inside(figure):
    text = draw_svg(figure)
    panels = groups(text, "panel")
    assert len(panels) == 5
    for drawn_panel in panels:
        href = drawn_panel.find(f"{SVG}image").get("href")
        inside = Image.open(
            io.BytesIO(base64.b64decode(href.removeprefix("data:image/png;base64,")))
        )
        assert inside.getpixel((0, 0)) == RED
    assert not re.search(r'(href|src)="(?!data:)|url\((?!#)', text), "nothing is fetched"
    words = [node.text for node in ET.fromstring(text).iter(f"{SVG}text")]
    assert {
        "(a) photo",
        "(b) a & b",
        "(c) x < y",
        "both",
        "rows",
        "7 regions",
        "Title",
        "A note",
        "L2 norm",
    } <= set(words)


def test_png_and_svg_have_one_size_and_the_same_bytes_every_time(figure):
    drawn, text = draw_png(figure), draw_svg(figure)
    root = ET.fromstring(text)
    assert (int(root.get("width")), int(root.get("height"))) == drawn.size
    assert root.get("viewBox") == f"0 0 {drawn.width} {drawn.height}"
    assert text == draw_svg(figure)
    assert drawn.tobytes() == draw_png(figure).tobytes()


def test_a_scale_is_drawn_once_under_the_last_panel_that_has_it(figure):
    sheet = arrange(figure)
    assert len(sheet.bars) == len(groups(draw_svg(figure), "scale")) == 1
    last = [placed for placed in sheet.pictures if placed.panel.scale][-1]
    assert (sheet.bars[0].x, sheet.bars[0].wide) == (last.x, last.wide)
    assert sheet.bars[0].y > last.y + last.high
    other = Figure([[panel(scale=Scale(0, 1))], [panel(scale=Scale(0, 2))]], ["head"], ["", ""])
    assert len(arrange(other).bars) == 2


def test_numbers_of_a_scale_are_evenly_spaced_and_stand_apart_on_a_short_bar():
    for bar_width in (420, 120):
        sheet = arrange(Figure([[panel((bar_width, 80), scale=Scale(3, 24))]], ["norm"], [""]))
        numbers = [words for words in sheet.words if words.text.isdigit()]
        assert [words.text for words in numbers] == (
            ["5", "10", "15", "20"] if bar_width == 420 else ["10", "20"]
        )
        for left, right in pairwise(numbers):
            assert left.x + width(left.text, left.size) < right.x


def test_a_row_title_of_many_lines_ends_in_three_points():
    title = "one-two-three-four-five-six " * 4
    words = [
        words.text
        for words in arrange(Figure([[panel()]], ["head"], [title])).words
        if words.upright
    ]
    assert len(words) == 3
    assert words[0].endswith("…")


def test_the_bar_runs_from_the_lowest_colour_to_the_highest():
    drawn = np.asarray(draw_png(Figure([[panel(scale=Scale(0, 10))]], ["norm"], [""])))
    bar = arrange(Figure([[panel(scale=Scale(0, 10))]], ["norm"], [""])).bars[0]
    assert drawn[bar.y + 2, bar.x].tolist() == VIRIDIS[0].tolist()
    assert drawn[bar.y + 2, bar.x + bar.wide - 1].tolist() == VIRIDIS[-1].tolist()


def test_a_border_is_white_in_the_middle_of_its_panel():
    drawn = draw_png(Figure([[panel((121, 80), lines=[(0.5, 0.0, 0.5, 1.0)])]], ["regions"], [""]))
    placed = arrange(
        Figure([[panel((121, 80), lines=[(0.5, 0.0, 0.5, 1.0)])]], ["regions"], [""])
    ).pictures[0]
    row = np.asarray(drawn)[placed.y + 40, placed.x : placed.x + 121].astype(int)
    assert row[60].min() > 240
    assert (row[:55] == RED).all()
    assert (row[66:] == RED).all()


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_all_words_and_pictures_lie_on_the_sheet_and_panels_do_not_touch(columns):
    side = panel_side(columns)
    row = [
        panel(
            (side, side),
            caption="a caption of several words " * 3,
            scale=Scale(0.1, 0.9, "a label"),
        )
    ] * columns
    names = ["transformers-clip-vit-large-patch14-336 layer=-2\n24 × 24"] * columns
    sheet = arrange(
        Figure(
            [row, row],
            names,
            ["a very long title of the first row " * 4, "second"],
            note="note " * 99,
        )
    )
    assert sheet.wide <= WIDE
    for words in sheet.words:
        long = width(words.text, words.size, words.bold)
        if words.upright:
            assert words.x - words.size >= 0
            assert words.y <= sheet.high
            assert words.y - long >= 0
        else:
            assert words.x >= 0
            assert words.x + long <= sheet.wide
            assert words.y + words.size / 3 <= sheet.high
    for picture in sheet.pictures:
        for other in sheet.pictures:
            apart = (
                other.x >= picture.x + picture.wide
                or other.y >= picture.y + picture.high
                or picture is other
            )
            assert apart or other.x + other.wide <= picture.x or other.y + other.high <= picture.y


def test_rows_with_one_title_share_it_and_a_portrait_stands_in_the_middle_of_its_column():
    sheet = arrange(Figure([[panel((100, 50))], [panel((50, 100))]], ["head"], ["norm", "norm"]))
    assert [words.text for words in sheet.words if words.upright] == ["norm"]
    landscape, portrait = sheet.pictures
    assert 2 * landscape.x + landscape.wide == 2 * portrait.x + portrait.wide
    assert (portrait.wide, portrait.high) == (50, 100)


def test_pictures_are_made_smaller_but_never_larger():
    sheet = arrange(Figure([[panel((2000, 1000)), panel((10, 10))]], ["", ""], [""]))
    assert [(placed.wide, placed.high) for placed in sheet.pictures] == [(420, 210), (10, 10)]


def test_long_names_break_where_they_can_and_are_shortened_where_not():
    assert folded("vit_large_patch14_reg4_dinov2", HEAD, 170) == [
        "vit_large_",
        "patch14_reg4_",
        "dinov2",
    ]
    assert folded("two words", HEAD, 1000) == ["two words"]
    assert folded("a\nb", HEAD, 1000) == ["a", "b"]
    (cut,) = folded("M" * 60, CAPTION, 100)
    assert cut.endswith("…")


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

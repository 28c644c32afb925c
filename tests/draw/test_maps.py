"""Maps: every patch is a block over the pixels it sees, and colours mean their numbers.

Borders lie exactly between patches.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.maps import VIRIDIS, Scale, borders, draw_colours, draw_scalar, draw_tints

RED, GREEN, BLUE, GOLD = (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 0)


def photo(height: int, width: int, value: int = 100) -> Picture:
    return Picture.of(np.full((height, width, 3), value, np.uint8))


def test_four_patches_are_four_blocks_with_sharp_edges():
    field = np.array([[RED, GREEN], [BLUE, GOLD]], np.uint8)
    drawn = np.asarray(
        draw_colours(photo(20, 30), Frame.stretch((20, 30), (4, 4), (2, 2)), field, longest=60)
    )
    assert drawn.shape == (40, 60, 3)
    assert (drawn[:20, :30] == RED).all()
    assert (drawn[:20, 30:] == GREEN).all()
    assert (drawn[20:, :30] == BLUE).all()
    assert (drawn[20:, 30:] == GOLD).all()


def test_a_letterboxed_photo_shows_the_patches_on_it_and_no_padding():
    # 40 x 20 on an 8 x 8 canvas of 2-pixel patches: the photo lies on patch rows 1 and 2, rows 0
    # and 3 are padding
    frame = Frame.letterbox((20, 40), (8, 8), (2, 2))
    field = np.zeros((4, 4, 3), np.uint8)
    field[0] = field[3] = RED
    field[1], field[2] = GREEN, BLUE
    drawn = np.asarray(draw_colours(photo(20, 40), frame, field, longest=40))
    assert (drawn[:10] == GREEN).all()
    assert (drawn[10:] == BLUE).all()


def test_what_a_crop_does_not_see_is_the_photo_in_light_grey():
    frame = Frame.center_crop((20, 40), (4, 4), (2, 2))  # the middle 20 x 20
    drawn = np.asarray(
        draw_colours(photo(20, 40, 26), frame, np.zeros((2, 2, 3), np.uint8), longest=40)
    )
    assert (drawn[:, :10] == 226 + 0.25 * (26 - 226)).all()
    assert (drawn[:, 10:30] == 0).all()
    assert (drawn[:, 30:] == 176).all()


def test_floats_are_shares_of_light_and_nan_is_black():
    field = np.array([[[0.0, 0.5, 1.0], [np.nan] * 3]])
    drawn = draw_colours(photo(10, 20), Frame.stretch((10, 20), (2, 4), (2, 2)), field, longest=20)
    assert drawn.getpixel((0, 0)) == (0, 128, 255)
    assert drawn.getpixel((19, 0)) == (0, 0, 0)


def test_a_scalar_field_takes_the_colours_of_its_scale():
    frame = Frame.stretch((10, 20), (2, 4), (2, 2))
    drawn = draw_scalar(photo(10, 20), frame, np.array([[1.0, 3.0]]), Scale(1, 3), longest=20)
    assert drawn.getpixel((0, 0)) == tuple(VIRIDIS[0])
    assert drawn.getpixel((19, 9)) == tuple(VIRIDIS[-1])


def test_a_scale_mixes_neighbouring_colours_and_stops_at_its_ends():
    scale = Scale(0, 16)
    assert scale.colours(np.array([8.0])).tolist() == [VIRIDIS[8].tolist()]
    assert scale.colours(np.array([0.5])).tolist() == [[70, 12, 95]]
    assert scale.colours(np.array([-1.0, 17.0, np.nan])).tolist() == [
        VIRIDIS[i].tolist() for i in (0, -1, 0)
    ]


def test_equal_numbers_get_the_middle_colour_and_rounding_is_no_range():
    scale = Scale.of([np.full(4, 8.0), np.full(4, 8.0 + 1e-9)])
    assert scale.low == pytest.approx(7.6)
    assert scale.high == pytest.approx(8.4)
    assert Scale.of([np.zeros(3)]) == Scale(-1, 1)


def test_borders_of_a_cross_are_two_lines():
    four = Regions.from_labels(torch.tensor([[0, 0, 1], [0, 0, 1], [2, 2, 3]]))
    lines = borders(Frame.stretch((30, 60), (6, 6), (2, 2)), four)
    assert [tuple(round(end, 6) for end in line) for line in lines] == [
        (0.666667, 0.0, 0.666667, 1.0),
        (0.0, 0.666667, 1.0, 0.666667),
    ]


def test_borders_break_where_regions_go_on_and_one_region_has_none():
    notch = Regions.from_labels(torch.tensor([[0, 1], [0, 0]]))
    frame = Frame.stretch((20, 20), (4, 4), (2, 2))
    assert borders(frame, notch) == [(0.5, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 0.5)]
    assert borders(frame, Regions.from_labels(torch.zeros(2, 2, dtype=torch.int64))) == []


def test_borders_keep_to_a_letterboxed_photo():
    stripes = Regions.from_labels(torch.tensor([[-1] * 4, [0, 0, 1, 1], [0, 0, 1, 1], [-1] * 4]))
    # the lines between photo and padding are the photo's own edges
    lines = borders(Frame.letterbox((20, 40), (8, 8), (2, 2)), stripes)
    assert lines == [(0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 1.0)]


def test_tints_differ_between_neighbours_and_patches_in_no_region_are_dark():
    regions = Regions.from_labels(torch.tensor([[0, 1, -1]]))
    drawn = draw_tints(
        photo(10, 30, 100), Frame.stretch((10, 30), (2, 6), (2, 2)), regions, longest=30
    )
    left, middle, right = (np.array(drawn.getpixel((x, 5))) for x in (5, 15, 25))
    assert np.abs(left - middle).max() > 40
    assert right.tolist() == [40, 40, 40]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Scale(1, 1), "two finite ends in order, got 1 and 1"),
        (lambda: Scale(0, float("nan")), "two finite ends"),
        (lambda: Scale.of([np.array([np.nan])]), "at least one finite number"),
        (lambda: Scale.of([]), "at least one finite number"),
        (
            lambda: draw_colours(
                photo(4, 4), Frame.stretch((4, 4), (4, 4), (2, 2)), np.zeros((3, 2, 3)), longest=9
            ),
            r"a colour of each patch \[2, 2, 3\], got shape \[3, 2, 3\]",
        ),
        (
            lambda: draw_colours(
                photo(4, 6), Frame.stretch((4, 4), (4, 4), (2, 2)), np.zeros((2, 2, 3)), longest=9
            ),
            r"image \(4, 4\), the picture image has size \(4, 6\)",
        ),
        (
            lambda: draw_colours(
                photo(4, 4), Frame.stretch((4, 4), (4, 4), (2, 2)), np.zeros((2, 2, 3)), longest=0
            ),
            "longest=0",
        ),
    ],
)
def test_bad_input_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()

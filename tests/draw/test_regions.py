"""Regions drawn on photos: lines, fills, gaps, crops and labels, on cases one can check by eye."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ImageFont

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw._labels import depth, fitted, poles
from regiontok.draw._palette import HUES, colours, neighbours
from regiontok.draw._text import SIGNS, measure, printable, text_width
from regiontok.draw._wrap import shortened, wrapped
from regiontok.draw.regions import draw_regions

STYLES = ("borders", "colours", "means")
LEFT_RIGHT = Regions.from_labels(torch.tensor([[0, 1], [0, 1]]))


def plain(colour=(90, 60, 30), size=(40, 40)) -> Picture:
    return Picture.of(np.full((*size, 3), colour, np.uint8))


def drawn(picture: Picture, frame: Frame, regions: Regions, **options) -> np.ndarray:
    return np.asarray(draw_regions(picture, frame, regions, **options)).astype(int)


def squares(picture: Picture, grid=(2, 2)) -> Frame:
    return Frame.stretch(picture.size, (grid[0] * 14, grid[1] * 14), (14, 14))


@pytest.mark.parametrize("colour", [(0, 0, 0), (90, 60, 30), (255, 255, 255)])
def test_a_border_lies_where_the_regions_change_and_nowhere_else(colour):
    photo = plain(colour)
    pixels = drawn(photo, squares(photo), LEFT_RIGHT, longest=40)
    changed = (pixels != photo.pixels).any(-1)
    assert changed[:, [0, 17, 21, 39]].sum() == 0
    assert changed[:, 18:21].any(1).all()
    assert np.ptp(pixels[:, 18:21].sum(-1), axis=1).min() > 250  # light beside dark, on any photo


def test_the_line_is_light_in_a_dark_halo():
    photo = plain((128, 128, 128))
    row = drawn(photo, squares(photo), LEFT_RIGHT, longest=40)[20, :, 0]
    assert row[19] > 240
    assert row[18] < 90
    assert row[20] < 90
    assert set(row[:18]) | set(row[21:]) == {128}


def test_few_regions_get_a_thicker_line_than_many():
    photo = plain((0, 0, 0), (640, 640))
    few = drawn(photo, squares(photo), LEFT_RIGHT)
    grid = squares(photo, (24, 24))
    many = drawn(photo, grid, Regions.singletons((24, 24)))
    assert (few[5, 300:340, 0] > 200).sum() == 3
    assert (many[5, 314:326, 0] > 150).sum() == 1


def test_the_patch_grid_leaves_the_photo_between_its_lines():
    photo = plain((90, 60, 30), (480, 480))
    pixels = drawn(photo, squares(photo, (24, 24)), Regions.singletons((24, 24)), longest=480)
    assert (pixels[5:460:20, 5:460:20] == photo.pixels[0, 0]).all()
    assert (pixels[19:460:20] != photo.pixels[0, 0]).any(-1).all()


def test_a_small_photo_is_enlarged_and_a_large_one_made_smaller():
    for size in ((30, 20), (3000, 2000)):
        photo = plain(size=size)
        assert draw_regions(photo, squares(photo), LEFT_RIGHT, longest=300).size == (200, 300)


def test_colours_of_touching_regions_differ():
    photo = plain((128, 128, 128), (400, 400))
    labels = torch.arange(16).view(4, 4)
    pixels = drawn(
        photo, squares(photo, (4, 4)), Regions.from_labels(labels), style="colours", longest=400
    )
    middles = pixels[50::100, 50::100]
    for y, x in np.ndindex(4, 4):
        around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
        for other in around:
            if min(other) >= 0 and max(other) < 4:
                assert np.abs(middles[y, x] - middles[other]).max() > 25


def test_colours_do_not_depend_on_the_order_of_regions_of_different_size():
    photo = plain((128, 128, 128))
    regions = Regions.from_labels(torch.tensor([[0, 0, 0], [0, 0, 0], [1, 1, 2], [1, 1, 2]]))
    frame = squares(photo, (4, 3))
    first = drawn(photo, frame, regions, style="colours")
    assert (first == drawn(photo, frame, regions.take([2, 0, 1]), style="colours")).all()


def test_means_are_the_mean_colours_of_the_regions():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20], pixels[:20, 20:], pixels[20:, 20:] = (200, 0, 0), (0, 100, 0), (0, 0, 50)
    photo = Picture.of(pixels)
    image = drawn(photo, squares(photo), LEFT_RIGHT, style="means", longest=40)
    assert image[20, 5].tolist() == [200, 0, 0]
    assert np.abs(image[20, 35] - [0, 50, 25]).max() <= 1


def test_a_patch_in_two_regions_shows_stripes_of_both():
    pixels = np.zeros((320, 640, 3), np.uint8)
    pixels[:, :213], pixels[:, 213:427], pixels[:, 427:] = 0, 120, 240
    photo = Picture.of(pixels)
    masks = torch.tensor([[[1, 1, 0]], [[0, 1, 1]]])
    image = drawn(photo, squares(photo, (1, 3)), Regions.from_masks(masks), style="means")
    assert np.unique(image[10:310, 10:200, 0]).tolist() == [60]
    assert np.unique(image[10:310, 440:630, 0]).tolist() == [180]
    shared = image[10:310, 225:415, 0]
    assert np.unique(shared).tolist() == [60, 180]
    assert 0.4 < (shared == 60).mean() < 0.6


def test_overlapping_regions_keep_both_outlines():
    photo = plain((0, 0, 0), (400, 400))
    masks = torch.zeros(2, 4, 4)
    masks[0, :, :3] = 1
    masks[1, :, 1:] = 1
    pixels = drawn(photo, squares(photo, (4, 4)), Regions.from_masks(masks), longest=400)
    light = (pixels[200, :, 0] > 200).nonzero()[0]
    assert all(np.abs(light - edge).min() <= 1 for edge in (100, 300))
    assert np.abs(light - 200).min() > 50


def test_a_gap_is_dimmed_and_hatched_without_colour():
    photo = plain((200, 40, 40), (400, 400))
    regions = Regions.from_labels(torch.tensor([[0, -1], [0, -1]]))
    pixels = drawn(photo, squares(photo), regions, longest=400)
    gap = pixels[:, 210:]
    assert (gap[..., :1] == gap).all()
    assert len(np.unique(gap)) == 2  # ground and hatching
    assert gap.max() < 130
    assert (pixels[:, :190] == photo.pixels[0, 0]).all()


def test_what_the_crop_leaves_out_is_greyed():
    photo = plain((200, 40, 40), (200, 400))
    frame = Frame.center_crop(photo.size, (28, 28), (14, 14))
    pixels = drawn(photo, frame, Regions.singletons((2, 2)), longest=400)
    for outside in (pixels[:, :95], pixels[:, 305:]):
        assert (outside[..., :1] == outside).all()
        assert outside.min() > 170
    assert (pixels[50, 150] == photo.pixels[0, 0]).all()


def test_pixels_behind_the_last_whole_patch_are_greyed():
    photo = plain((200, 40, 40), (384, 384))
    frame = Frame.stretch(photo.size, (384, 384), (14, 14))
    pixels = drawn(photo, frame, Regions.singletons((27, 27)), longest=384)
    assert (pixels[:, 380:, 0] == pixels[:, 380:, 1]).all()
    assert (pixels[4, 368] == photo.pixels[0, 0]).all()


def test_padding_does_not_show():
    photo = plain(size=(100, 200))
    frame = Frame.letterbox(photo.size, (56, 56), (14, 14))
    with_padding, without_padding = (
        Regions.singletons((4, 4)),
        Regions.singletons((4, 4), frame.valid),
    )
    assert draw_regions(photo, frame, with_padding, longest=200).size == (200, 100)
    assert (
        drawn(photo, frame, with_padding, style="means")[5::20]
        == drawn(photo, frame, without_padding, style="means")[5::20]
    ).all()


def case(name: str) -> tuple[Picture, Frame, Regions]:
    noise = np.random.default_rng(0)
    size = {"long": (20000, 10), "wide": (10, 20000), "dot": (1, 1)}.get(name, (60, 90))
    photo = Picture.of(noise.integers(0, 256, (*size, 3)).astype(np.uint8))
    framing = "letterbox" if name == "long" else "crop" if name == "wide" else "stretch"
    frame = Frame.fit(framing, size, (84, 84), (84, 84) if name == "one patch" else (14, 14))
    masks = torch.from_numpy(noise.random((30, *frame.grid)) < 0.3)
    several = {
        "one region": torch.ones(1, *frame.grid),
        "none": torch.zeros(0, *frame.grid),
        "one of many": torch.arange(36).view(1, 6, 6) == 14
        if frame.grid == (6, 6)
        else torch.ones(1, 1, 1),
        "one patch": torch.ones(2, 1, 1),
    }
    return photo, frame, Regions.from_masks(several.get(name, masks))


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "name", ["overlap", "one region", "none", "one of many", "one patch", "long", "wide", "dot"]
)
def test_every_style_draws_every_case(name, style):
    photo, frame, regions = case(name)
    expected = {"long": (1, 640), "wide": (640, 1), "dot": (640, 640)}.get(name, (640, 427))
    names = [f"region {i}" for i in range(len(regions))]
    for options in ({}, {"numbers": True}, {"names": names}):
        image = draw_regions(photo, frame, regions, style=style, **options)
        assert (image.size, image.mode) == (expected, "RGB")
    assert (
        image.tobytes() == draw_regions(photo, frame, regions, style=style, names=names).tobytes()
    )
    assert draw_regions(photo, frame, regions, style=style, longest=1, numbers=True).size == (1, 1)


def test_a_label_is_written_inside_its_region():
    photo = plain((200, 200, 200), (320, 640))
    frame = squares(photo)
    without = drawn(photo, frame, LEFT_RIGHT)
    changed = (drawn(photo, frame, LEFT_RIGHT, names=[None, "right"]) != without).any(-1)
    y, x = changed.nonzero()
    assert len(y) > 100
    assert x.min() > 330
    assert abs(x.mean() - 480) < 8
    assert abs(y.mean() - 160) < 8


def test_names_and_numbers_are_different_labels():
    photo = plain(size=(320, 640))
    frame = squares(photo)
    images = [
        drawn(photo, frame, LEFT_RIGHT, **options)
        for options in (
            {},
            {"numbers": True},
            {"names": ["a", "b"]},
            {"names": ["a", "b"], "numbers": True},
            {"names": ["日", "本"]},
        )
    ]
    assert all((a != b).any() for i, a in enumerate(images) for b in images[:i])
    assert (images[0] == drawn(photo, frame, LEFT_RIGHT, names=[None, ""])).all()


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-2, 2))
)
def test_depth_is_the_distance_to_the_nearest_other_label(labels):
    edge = np.pad(labels, 1, constant_values=9)
    expected = np.zeros(labels.shape)
    for y, x in np.ndindex(labels.shape):
        other = np.argwhere(edge != labels[y, x])
        expected[y, x] = np.sqrt(((other - [y + 1, x + 1]) ** 2).sum(1).min())
    assert depth(labels) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        np.int64,
        st.tuples(st.integers(1, 400), st.integers(1, 400)),
        elements=st.integers(-2, 3),
        fill=st.integers(-2, 3),
    )
)
def test_a_pole_lies_in_its_region_and_labels_in_the_picture_apart(top):
    centres = poles(top, 4)
    for region, (y, x, deep) in enumerate(centres):
        assert deep == 0 or top[int(y), int(x)] == region
    labels = fitted(["0", "one", "a long name", "3"], top, [2, 0, 1, 3], 1.0, plates=False)
    covered = np.zeros(top.shape, int)
    for label in labels:
        x0, y0, x1, y1 = label.box
        assert 0 <= x0 < x1 <= top.shape[1]
        assert 0 <= y0 < y1 <= top.shape[0]
        y, x, _ = centres[label.region]
        assert x0 <= x <= x1
        assert y0 <= y <= y1
        covered[y0:y1, x0:x1] += 1
    assert covered.max(initial=0) <= 1


def test_the_pole_of_a_ring_is_in_the_ring():
    top = np.zeros((90, 120), int)
    top[20:70, 30:90] = 1
    (y, x, deep), inner = poles(top, 2)
    assert top[int(y), int(x)] == 0
    assert deep >= 0.8 * 15
    assert inner[:2].tolist() == pytest.approx([45, 60], abs=2)


def test_of_two_labels_for_one_place_the_first_is_written():
    halves = np.indices((24, 60))[1] // 30
    for order in ([0, 1], [1, 0]):
        labels = fitted(["left", "right"], halves, order, 1.0, plates=False)
        assert [label.region for label in labels] == order[:1]
    assert (
        len(fitted(["left", "right"], np.indices((24, 200))[1] // 100, [0, 1], 1.0, plates=False))
        == 2
    )
    assert fitted(["wider than all"], np.zeros((100, 60), int), [0], 1.0, plates=False) == []


def test_a_plate_never_hides_most_of_a_region():
    top = np.zeros((100, 300), int)
    top[45:55, 140:160] = 1
    assert [
        label.region for label in fitted(["outer", "inner"], top, [0, 1], 1.0, plates=True)
    ] == [0]
    top[30:70, 120:180] = 1
    assert [
        label.region for label in fitted(["outer", "inner"], top, [0, 1], 1.0, plates=True)
    ] == [0, 1]


def test_neighbours_touch_at_sides_and_corners_or_share_a_patch():
    members = np.array([[[0, -1], [-1, -1], [3, -1]], [[-1, -1], [1, 2], [-1, -1]]])
    assert neighbours(members).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert neighbours(np.full((2, 2, 1), -1)).tolist() == []


@settings(max_examples=20, deadline=None)
@given(arrays(np.int64, (8, 8), elements=st.integers(0, 63)))
def test_neighbours_get_different_hues_while_there_are_enough(labels):
    regions = Regions.from_labels(torch.from_numpy(labels))
    pairs = neighbours(regions.labels.numpy()[..., None])
    paint = colours(regions.sizes.numpy(), pairs)
    crowded = np.bincount(pairs.ravel(), minlength=len(regions)) >= len(HUES)
    for a, b in pairs[~crowded[pairs].any(1)]:
        assert (paint[a] != paint[b]).any()


def test_more_neighbours_than_hues_still_get_colours():
    everything = np.stack(np.triu_indices(30, 1), axis=1)
    paint = colours(np.ones(30, int), everything)
    assert len(np.unique(paint, axis=0)) == len(HUES)


def test_the_font_has_every_sign_that_printable_lets_through():
    font = ImageFont.load_default(20)
    missing = bytes(font.getmask("\U0010ffff"))
    signs = [chr(code) for code in range(33, 127)] + list(SIGNS)
    assert [sign for sign in signs if bytes(font.getmask(sign)) == missing] == []
    assert printable("".join(signs)) == "".join(signs)


def test_text_is_made_to_fit():
    assert printable("Ångström\t² Łódź – 日") == "Angstrom 2 Lodz - ?"
    assert shortened("segmentation", 70, measure(20)).endswith("…")
    assert text_width(shortened("segmentation", 70, measure(20)), 20) <= 70
    assert shortened("segmentation", 3, measure(20)) == ""
    text = "126 regions · 576 patches\nof one photo and an unbreakablywideword"
    lines = wrapped(text, 120, measure(17))
    assert lines[:2] == ["126 regions ·", "576 patches"]
    assert max(text_width(line, 17) for line in lines) <= 120


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "lines"}, "unknown style 'lines'; expected one of borders, colours, means"),
        ({"names": ["one"]}, "a name .* for each of 2 regions, got 1"),
        ({"longest": 0}, "at least 1 pixel .* longest=0"),
        (
            {"picture": plain(size=(40, 41))},
            r"of an image \(40, 40\), the picture image has size \(40, 41\)",
        ),
        (
            {"regions": Regions.singletons((3, 2))},
            r"grid \(3, 2\) do not lie on the frame's grid \(2, 2\)",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    photo = plain()
    arguments = {"picture": photo, "frame": squares(photo), "regions": LEFT_RIGHT} | change
    with pytest.raises(ValueError, match=message):
        draw_regions(**arguments)

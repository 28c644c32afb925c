"""The drawing of attention over regions, pixel by pixel where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.attention import draw_attention, percent

WHITE = Picture.of(np.full((40, 80, 3), 255, np.uint8))
FRAME = Frame.stretch((40, 80), (8, 16), (4, 4))  # a grid of 2 x 4 patches
HALVES = Regions.from_labels(torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]]))


def drawn(regions, shares, **options):
    return np.asarray(
        draw_attention(WHITE, FRAME, regions, shares, **{"named": 0, "longest": 640, **options})
    ).astype(int)


def redness(pixels, y, x):
    return pixels[y, x, 0] - pixels[y, x, 2]


def test_tint_goes_with_the_share():
    pixels = drawn(HALVES, [0.1, 0.4])
    grey, ink, most = 0.75 * 255, np.array([255, 92, 0]), 0.8
    assert pixels[200, 500] == pytest.approx((1 - most) * grey + most * ink, abs=1)
    assert pixels[200, 100] == pytest.approx((1 - most / 4) * grey + most / 4 * ink, abs=1)


def test_a_large_region_is_not_strong_because_it_is_large():
    """Four patches of eight with 60 % of the attention are looked at less than one with 40 %."""
    labels = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]])
    pixels = drawn(Regions.from_labels(labels), [0.6, 0.4])
    assert redness(pixels, 300, 600) > 3 * redness(pixels, 50, 50) > 0


def test_only_ratios_matter_for_the_tint():
    assert np.array_equal(drawn(HALVES, [0.1, 0.4]), drawn(HALVES, [1, 4]))


def test_nothing_looked_at_is_the_photo_in_grey():
    pixels = drawn(HALVES, [0, 0])
    assert (pixels.max(-1) == pixels.min(-1)).all()


def test_where_regions_overlap_the_larger_share_shows():
    overlapping = Regions.from_masks(
        torch.tensor([[[1, 1, 1, 1], [0, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 0, 0]]]) == 1
    )
    pixels = drawn(overlapping, [1.0, 0.25])
    assert np.array_equal(pixels[50, 50], pixels[50, 600])
    assert redness(pixels, 250, 50) < redness(pixels, 50, 50)
    assert redness(pixels, 250, 600) == 0


def test_letters_stand_in_the_top_left_corner():
    bare, strong, weak = (
        drawn(HALVES, [1, 1], letters=letters) for letters in (None, {"G": 1.0}, {"G": 0.0})
    )
    changed = np.argwhere((bare != strong).any(-1))
    assert changed[:, 0].max() < 64
    assert changed[:, 1].max() < 96
    assert redness(strong, 10, 14) > redness(weak, 10, 14)
    larger = drawn(HALVES, [1, 1], letters={"G": 4.0})
    assert redness(larger, 200, 500) == redness(bare, 200, 500), "a letter has no area"


def test_two_letters_stand_side_by_side():
    single, double = (
        drawn(HALVES, [1, 1], letters={"G": 0.3}),
        drawn(HALVES, [1, 1], letters={"G": 0.3, "CLS": 0.3}),
    )
    assert np.argwhere((single != double).any(-1))[:, 1].min() > 20


def test_the_most_looked_at_regions_are_named():
    bare, named = drawn(HALVES, [0.2, 0.8]), drawn(HALVES, [0.2, 0.8], named=1)
    assert np.argwhere((bare != named).any(-1))[:, 1].min() > 320  # region 1 is the right half
    assert np.array_equal(drawn(HALVES, [0.0, 0.0], named=2), drawn(HALVES, [0, 0]))


def test_patches_in_no_region_stay_grey():
    left = Regions.from_labels(torch.tensor([[0, 0, -1, -1], [0, 0, -1, -1]]))
    pixels = drawn(left, [1.0])
    assert redness(pixels, 200, 600) == 0 < redness(pixels, 200, 100)


def test_a_small_photo_is_drawn_too():
    assert draw_attention(WHITE, FRAME, HALVES, [1, 2], letters={"G": 1}, longest=24).size == (
        24,
        12,
    )


def test_parts_that_do_not_belong_together():
    with pytest.raises(ValueError, match="a share for each of 2 regions"):
        drawn(HALVES, [1])
    with pytest.raises(ValueError, match="finite and not negative"):
        drawn(HALVES, [1, -0.1])
    with pytest.raises(ValueError, match="finite and not negative"):
        drawn(HALVES, [1, 1], letters={"G": float("nan")})
    with pytest.raises(ValueError, match="do not lie on the frame's grid"):
        drawn(Regions.singletons((3, 3)), [1] * 9)


def test_percent():
    assert [percent(share) for share in (1, 0.5, 0.01, 0.0096, 0.0094, 0.00012)] == [
        "100 %",
        "50 %",
        "1 %",
        "1 %",
        "0.9 %",
        "0.01 %",
    ]

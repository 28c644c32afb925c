"""A strip shows one colour a region across frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.draw._palette import HUES
from regiontok.draw.regions import draw_regions
from regiontok.draw.strip import clip_colours, draw_strip, spread_frames

BLACK = Clip.of(np.zeros((3, 40, 80, 3), np.uint8), fps=2)
FRAME = Frame.stretch((40, 80), (4, 8), (1, 1))


def wandering(width: int = 2) -> Regions:
    """Region 1 stands left, in the middle and right; region 0 is the rest."""
    labels = torch.zeros(3, 4, 8, dtype=torch.int64)
    for index in range(3):
        labels[index, 1:3, 3 * index : 3 * index + width] = 1
    return Regions.from_labels(labels)


def test_a_region_has_one_colour_on_all_frames():
    panels = draw_strip(BLACK, FRAME, wandering(), longest=800)
    assert [panel.title for panel in panels] == ["0.00 s", "0.50 s", "1.00 s"]
    hues = clip_colours(wandering())
    for index, panel in enumerate(panels):
        pixels = np.asarray(panel.image)
        # the middle of the square, a corner
        inside, outside = (pixels[200, (3 * index + 1) * 100], pixels[30, 780])
        assert np.abs(inside - 0.55 * hues[1]).max() <= 1  # colours at 0.55 over black
        assert np.abs(outside - 0.55 * hues[0]).max() <= 1


def test_the_colours_of_a_clip_are_of_the_palette_and_differ_where_regions_touch():
    hues = clip_colours(wandering())
    assert hues.shape == (2, 3)
    assert all((hue == HUES).all(1).any() for hue in hues)
    assert not np.array_equal(hues[0], hues[1])


def test_what_follows_at_the_same_patch_differs_in_colour():
    # a new region on every frame: none touches another on a frame
    labels = torch.arange(6)[:, None, None].expand(6, 2, 2)
    hues = clip_colours(Regions.from_labels(labels))
    assert (hues[1:] != hues[:-1]).any(1).all()


def test_a_region_that_is_not_on_a_frame_is_not_drawn_there():
    labels = torch.zeros(3, 4, 8, dtype=torch.int64)
    labels[1, :, 4:] = 1
    first, second, third = (
        np.asarray(panel.image) for panel in draw_strip(BLACK, FRAME, Regions.from_labels(labels))
    )
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)


def test_frames_shown_are_spread_evenly():
    assert spread_frames(20, 6) == [0, 4, 8, 11, 15, 19]
    assert spread_frames(1) == [0]
    assert spread_frames(9, 1) == [0]
    with pytest.raises(ValueError, match="at least one frame, got most=0"):
        spread_frames(9, 0)
    assert len(draw_strip(BLACK, FRAME, wandering(), most=2)) == 2


def test_numbers_are_those_of_the_clip():
    labels = torch.zeros(3, 4, 8, dtype=torch.int64)
    labels[2] = 1  # the only region of the last frame: the first there, the second of the clip
    regions = Regions.from_labels(labels)
    panels = draw_strip(BLACK, FRAME, regions, numbers=True, longest=400)
    frame_regions, ids = regions.on_frame(2)
    hues = clip_colours(regions)[ids.numpy()]
    wanted, other = (
        draw_regions(
            BLACK.frames[2],
            FRAME,
            frame_regions,
            style="colours",
            names=[n],
            hues=hues,
            longest=400,
        )
        for n in "10"
    )
    assert panels[2].image.tobytes() == wanted.tobytes() != other.tobytes()


def test_overlap_and_gaps_are_drawn():
    masks = torch.zeros(2, 3, 4, 8, dtype=torch.bool)
    masks[0, :, :, :5], masks[1, :2, :, 3:6] = True, True
    panels = draw_strip(BLACK, FRAME, Regions.from_masks(masks))
    assert all(panel.image.size == panels[0].image.size for panel in panels)


def test_without_times_frames_have_numbers():
    clip = Clip.of(np.zeros((3, 40, 80, 3), np.uint8))
    assert [panel.title for panel in draw_strip(clip, FRAME, wandering())] == [
        "frame 0",
        "frame 1",
        "frame 2",
    ]


@pytest.mark.parametrize("grid", [(4, 8), (2, 4, 8), (3, 8, 4)])
def test_regions_on_another_grid_are_refused(grid):
    with pytest.raises(ValueError, match=r"expected regions on the clip's grid \(3, 4, 8\), got"):
        draw_strip(BLACK, FRAME, Regions.singletons(grid))


def test_colours_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"a colour for each of 32 regions, got shape \[2, 3\]"):
        draw_regions(BLACK.frames[0], FRAME, Regions.singletons((4, 8)), hues=HUES[:2])

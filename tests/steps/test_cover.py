"""Cover: what becomes of patches in no region, on a drawn grid of 3 x 4."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.cover import Cover
from samples.grids import grid_of

START = [
    [0, 0, -1, -1],
    [0, -1, -1, 1],
    [-1, -1, 1, 1],
]
# what the uncovered patches look like: x and y; x meets x only around the corner
DRAWING = [
    "..xx",
    ".yx.",
    "yx..",
]
POLICIES = [Cover(), Cover("singletons"), Cover("nearest"), Cover("clusters", threshold=0.7)]


def drawn_grid(drawing=DRAWING, **extra):
    """A grid that looks as it is drawn; "." looks like both."""
    features = torch.tensor(
        [[{"x": [1.0, 0.0], "y": [0.0, 1.0], ".": [1.0, 1.0]}[c] for c in row] for row in drawing]
    )
    return grid_of(features, **extra)


def start():
    return Regions.from_labels(torch.tensor(START), source=torch.tensor([5, 8]))


@pytest.mark.parametrize(
    ("cover", "expected"),
    [
        (Cover(), [[0, 0, 2, 2], [0, 2, 2, 1], [2, 2, 1, 1]]),
        (Cover("singletons"), [[0, 0, 2, 3], [0, 4, 5, 1], [6, 7, 1, 1]]),
        (Cover("nearest"), [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]),
        (Cover("clusters", threshold=0.7), [[0, 0, 2, 2], [0, 3, 2, 1], [4, 5, 1, 1]]),
    ],
    ids=lambda value: value.how if isinstance(value, Cover) else "",
)
def test_policies_by_hand(cover, expected):
    covered = cover.one(start(), drawn_grid())
    assert covered.labels.tolist() == expected
    assert covered.source.tolist() == [5, 8, *[-1] * (len(covered) - 2)]


def test_clusters_join_patches_that_touch_and_look_alike():
    drawing = ["..xx", ".yx.", "yy.."]
    assert Cover("clusters", threshold=0.7).one(start(), drawn_grid(drawing)).labels.tolist() == [
        [0, 0, 2, 2],
        [0, 3, 2, 1],
        [3, 3, 1, 1],
    ]


def test_nearest_is_as_the_crow_flies():
    labels = torch.full((3, 6), -1)
    # patch (0, 2) is 2 and 2.8 from them, patch (0, 3) 3 and 2.2, by steps 3 and 3
    labels[0, 0], labels[2, 4] = (0, 1)
    grown = Cover("nearest").one(Regions.from_labels(labels), drawn_grid(["." * 6] * 3))
    assert grown.labels[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_nearest_joins_every_region_of_the_nearest_patch():
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 0, 0]]])
    grown = Cover("nearest").one(Regions.from_masks(masks), drawn_grid(["...."]))
    assert grown.masks.int().tolist() == [[[1, 1, 1, 1]], [[0, 1, 1, 1]]]


def test_nearest_of_equals_is_the_first_in_raster_order_also_on_a_large_grid():
    middle = torch.full((1, 65), -1)
    middle[0, 0], middle[0, 64] = 0, 1  # patch 32 is 32 from both
    grown = Cover("nearest").one(Regions.from_labels(middle), drawn_grid(["." * 65]))
    assert grown.sizes.tolist() == [33, 32]
    cross = torch.full((41, 41), -1)
    for region, centre in enumerate(((0, 20), (20, 0), (20, 40), (40, 20))):
        cross[centre] = region
    assert (
        int(
            Cover("nearest")
            .one(Regions.from_labels(cross), drawn_grid(["." * 41] * 41))
            .labels[20, 20]
        )
        == 0
    )


@pytest.mark.parametrize("cover", POLICIES, ids=lambda cover: cover.how)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), overlapping=st.booleans(), padding=st.sampled_from(["drop", "keep"])
)
def test_every_valid_patch_is_covered_and_what_was_there_stays_in_front(
    cover, seed, overlapping, padding
):
    rng = np.random.default_rng(seed)
    frame = Frame.letterbox((6, 12), (12, 12), (2, 2))
    grid = PatchGrid(torch.from_numpy(rng.normal(size=(6, 6, 3))).float(), frame, padding=padding)
    masks = torch.from_numpy(rng.random((3 if overlapping else 1, 6, 6)) < 0.2) & grid.valid
    before = Regions.from_masks(masks)
    after = cover.one(before, grid)
    assert torch.equal(after.counts > 0, grid.valid)
    assert after.is_partition(grid.valid) or before.overlap
    assert torch.equal(after.masks[: len(before)] & before.masks, before.masks)
    if cover.how != "nearest":
        assert torch.equal(after.masks[: len(before)], before.masks)
        assert torch.equal(after.counts[before.counts > 0], before.counts[before.counts > 0])


@pytest.mark.parametrize("cover", POLICIES, ids=lambda cover: cover.how)
def test_nothing_uncovered_is_left_as_it_is(cover):
    regions = Regions.from_masks(torch.ones(2, 3, 4))
    assert cover.one(regions, drawn_grid()) is regions


@pytest.mark.parametrize(
    ("cover", "parts"),
    list(zip(POLICIES, [1, 12, 1, 6], strict=True)),
    ids=lambda value: getattr(value, "how", ""),
)
def test_without_any_region_everything_is_uncovered(cover, parts):
    nothing = Regions.from_masks(torch.zeros(0, 3, 4))
    drawing = ["xxyy", "yyxx", "xyxy"]  # touching parts: xx, yy + y, yy, xx + x, x, y
    covered = cover.one(nothing, drawn_grid(drawing))
    assert covered.is_partition()
    assert len(covered) == parts
    assert set(covered.source.tolist()) == {-1}


def test_nearest_counts_frames_as_rows_and_columns():
    labels = torch.full((3, 1, 4), -1)
    labels[0, 0, 0], labels[2, 0, 3] = 0, 1
    grid = PatchGrid(torch.zeros(3, 1, 4, 1), Frame.stretch((1, 4), (1, 4), (1, 1)))
    grown = Cover("nearest").one(Regions.from_labels(labels), grid)
    assert grown.labels.tolist() == [[[0, 0, 0, 1]], [[0, 0, 1, 1]], [[0, 1, 1, 1]]]


def test_settings_that_cannot_be():
    for wrong in ({"how": "clusters"}, {"how": "rest", "threshold": 0.7}):
        with pytest.raises(
            ValueError, match="a threshold goes with how='clusters', and only with it"
        ):
            Cover(**wrong)
    with pytest.raises(ValueError, match="threshold 7 is no cosine"):
        Cover("clusters", threshold=7)

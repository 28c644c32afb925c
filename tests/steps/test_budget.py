"""Budget: which rows stay under each policy, by hand and on overlapping masks drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.regions import Regions
from regiontok.settings.registry import build
from regiontok.settings.spec import SpecError
from regiontok.steps.budget import Budget
from samples.grids import blank_grid, patches_of

POLICIES = ["largest", "round_robin", "merge_rest"]


def lists(*patches, grid=(3, 4)):
    """Regions from lists of patches; they may overlap."""
    masks = torch.zeros(len(patches), grid[0] * grid[1], dtype=torch.bool)
    for index, members in enumerate(patches):
        masks[index, members] = True
    return Regions.from_masks(masks.view(-1, *grid))


def rows_and_sources(step, regions):
    """The patches of each region that a step leaves, and the sources of these."""
    after = step.one(regions, blank_grid(*regions.grid))
    return patches_of(after), after.source.tolist()


# 3, 6, 2 and 4 rows; 11 patches of 12
FOUR = lists([0, 1, 2], [0, 1, 4, 5, 8, 9], [2, 3], [6, 7, 10, 11])


def test_largest_first_each_whole_and_smaller_ones_are_tried():
    assert rows_and_sources(Budget(13), FOUR) == (
        [[0, 1, 2], [0, 1, 4, 5, 8, 9], [6, 7, 10, 11]],
        [0, 1, 3],
    )
    # 6 + 4, 3 is too many, 2 fit
    assert rows_and_sources(Budget(12), FOUR) == (
        [[0, 1, 4, 5, 8, 9], [2, 3], [6, 7, 10, 11]],
        [1, 2, 3],
    )
    assert rows_and_sources(Budget(5), FOUR) == ([[6, 7, 10, 11]], [3])
    assert rows_and_sources(Budget(1), FOUR) == ([[5]], [1])  # none fits: the largest, thinned


def test_equal_regions_go_by_their_order():
    assert rows_and_sources(Budget(2), lists([0, 1], [2, 3], [4, 5]))[1] == [0]


def test_round_robin_by_hand():
    # rounds of 4, 4, 4, 3 and 3 rows
    assert rows_and_sources(Budget(4, "round_robin"), FOUR) == ([[1], [5], [3], [10]], [0, 1, 2, 3])
    assert rows_and_sources(Budget(9, "round_robin"), FOUR) == (
        [[0, 1, 2], [1, 8], [2, 3], [7, 11]],
        [0, 1, 2, 3],
    )
    assert rows_and_sources(Budget(2, "round_robin"), FOUR) == ([[1], [5]], [0, 1])


def test_merge_rest_by_hand():
    # the two small ones are {0, 1, 2, 3} together: 4 patches where they had 5 rows
    assert rows_and_sources(Budget(14, "merge_rest"), FOUR) == (
        [[0, 1, 4, 5, 8, 9], [6, 7, 10, 11], [0, 1, 2, 3]],
        [1, 3, -1],
    )
    # with any whole there would be 14 rows
    assert rows_and_sources(Budget(13, "merge_rest"), FOUR) == ([[*range(12)]], [-1])
    # 12 patches are covered and 8 are paid: the largest whole, two of the other eight
    assert rows_and_sources(Budget(8, "merge_rest"), FOUR) == (
        [[0, 1, 4, 5, 8, 9], [2, 10]],
        [1, -1],
    )


def test_of_regions_counts_regions():
    assert rows_and_sources(Budget(2, of="regions"), FOUR)[1] == [1, 3]
    assert rows_and_sources(Budget(2, "merge_rest", of="regions"), FOUR) == (
        [[0, 1, 4, 5, 8, 9], [0, 1, 2, 3, 6, 7, 10, 11]],
        [1, -1],
    )
    assert rows_and_sources(Budget(1, "merge_rest", of="regions"), FOUR) == ([[*range(12)]], [-1])


@pytest.mark.parametrize("policy", POLICIES)
def test_what_fits_is_left_alone(policy):
    assert Budget(15, policy).one(FOUR, blank_grid(3, 4)) is FOUR
    nothing = Regions.from_masks(torch.zeros(0, 3, 4))
    assert len(Budget(1, policy).one(nothing, blank_grid(3, 4))) == 0


def boxes(count, seed, side=24):
    """Overlapping boxes, as 100 random ones gave 16,058 rows in the release."""
    rng = np.random.default_rng(seed)
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for index in range(count):
        (y0, y1), (x0, x1) = np.sort(rng.integers(0, side, (2, 2)), axis=1)
        masks[index, y0 : y1 + 1, x0 : x1 + 1] = True
    return Regions.from_masks(masks)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3000))
def test_a_hundred_overlapping_masks_respect_the_budget(policy, seed, tokens):
    before = boxes(100, seed)
    after = Budget(tokens, policy).one(before, blank_grid(24, 24))
    rows = len(after.patch)
    assert 0 < rows <= tokens
    if policy == "round_robin":
        assert rows == min(tokens, len(before.patch))
    masks = before.masks.flatten(1)
    for mask, source in zip(after.masks.flatten(1), after.source.tolist(), strict=True):
        assert bool((mask <= (masks[source] if source >= 0 else masks.any(0))).all())
    covered = int((before.counts > 0).sum())
    if policy == "merge_rest" and tokens >= covered:
        assert int((after.counts > 0).sum()) == covered  # only repetitions are gone
    if policy == "largest" and len(after) > 1:
        assert torch.equal(after.masks.flatten(1), masks[after.source])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 800))
def test_merge_rest_keeps_as_many_whole_as_a_search_finds(seed, tokens):
    before = boxes(30, seed)
    sizes = before.sizes.tolist()
    order = sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
    masks = before.masks.flatten(1)
    fits = [
        whole
        for whole in range(len(order))
        if sum(sizes[index] for index in order[:whole]) + int(masks[order[whole:]].any(0).sum())
        <= tokens
    ]
    after = Budget(tokens, "merge_rest").one(before, blank_grid(24, 24))
    if sum(sizes) <= tokens:
        assert after is before
    elif fits:
        assert sorted(after.source.tolist()[:-1]) == sorted(order[: fits[-1]])
        assert torch.equal(after.masks.flatten(1)[-1], masks[order[fits[-1] :]].any(0))
    else:
        assert len(after.patch) == tokens


def test_errors():
    with pytest.raises(SpecError, match="needs a budget of at least one token, got tokens=0"):
        build("step", "budget(0)")
    with pytest.raises(SpecError, match="round_robin deals out rows; of='regions' goes with"):
        build("step", "budget(4, 'round_robin', of='regions')")

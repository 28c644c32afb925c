"""Merge by hand, and against the plainest loop that does what the paper says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.merge import Merge
from samples.grids import grid_of, patches_of


def touching(grid):
    """Pairs of patches that share an edge, by their coordinates."""
    places = list(np.ndindex(*grid))
    return [
        (i, j)
        for i in range(len(places))
        for j in range(i)
        if sum(abs(a - b) for a, b in zip(places[i], places[j], strict=True)) == 1
    ]


def cosine(x, y):
    """In units of 2^-20, as the step's text says."""
    lengths = [
        np.linalg.norm(mean) if np.linalg.norm(mean) > size * 2.0**-20 else 0.0
        for mean, size in (x, y)
    ]
    if 0.0 in lengths:
        return 2**20 if lengths == [0.0, 0.0] else 0
    return math.floor(float(x[0] @ y[0]) / (lengths[0] * lengths[1]) * 2**20 + 0.5)


def loop(features, start, threshold=None, k=None):
    """Merge the most similar touching pair again and again, all computed afresh each time."""
    flat = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
    regions = [set(members) for members in patches_of(start)]
    pairs = touching(start.grid)
    while True:
        means = [
            (flat[list(members)].mean(0), np.linalg.norm(flat[list(members)], axis=1).mean())
            for members in regions
        ]
        region_of = {patch: index for index, members in enumerate(regions) for patch in members}
        neighbours = {
            (region_of[a], region_of[b])
            for a, b in pairs
            if a in region_of and b in region_of and region_of[a] != region_of[b]
        }
        candidates = [
            (-cosine(means[a], means[b]), *sorted((min(regions[a]), min(regions[b]))), a, b)
            for a, b in neighbours
        ]
        if (
            not candidates
            or (k is not None and len(regions) == k)
            or (threshold is not None and -min(candidates)[0] < threshold * 2**20)
        ):
            return sorted(sorted(members) for members in regions)
        *_, a, b = min(candidates)
        regions = [members for index, members in enumerate(regions) if index not in (a, b)] + [
            regions[a] | regions[b]
        ]


@st.composite
def starts(draw):
    """Small integer features, and regions to start from.

    There are many ties, zeros and opposites; regions are single patches, or a drawn disjoint start
    with gaps.
    """
    grid = tuple(draw(st.sampled_from([(1, 1), (1, 5), (3, 3), (2, 4), (4, 3), (2, 2, 3)])))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    features = rng.integers(-2, 3, (*grid, draw(st.integers(1, 3)))).astype(np.float32)
    if draw(st.booleans()):
        features += rng.normal(size=features.shape).astype(np.float32)
    if draw(st.booleans()):
        return features, Regions.singletons(grid)
    return features, Regions.from_labels(torch.from_numpy(rng.integers(-1, 5, grid)))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(starts(), st.sampled_from([-1.0, -0.5, 0.0, 0.4, 0.5, 0.7, 0.9, 1.0]))
def test_threshold_equals_the_loop(case, threshold):
    features, start = case
    assert patches_of(Merge(threshold).one(start, grid_of(features))) == loop(
        features, start, threshold
    )


@settings(max_examples=60, deadline=None)
@given(starts(), st.data())
def test_budget_equals_the_loop_and_is_exact(case, data):
    features, start = case
    assume(len(start))
    k = data.draw(st.integers(len(loop(features, start)), len(start)))
    merged = patches_of(Merge(k=k).one(start, grid_of(features)))
    assert len(merged) == k
    assert merged == loop(features, start, k=k)


def test_regions_by_hand():
    # two rows: red red blue / red blue blue
    red, blue = [1.0, 0.1], [0.1, 1.0]
    merged = Merge(0.7).one(
        Regions.singletons((2, 3)), grid_of([[red, red, blue], [red, blue, blue]])
    )
    assert merged.labels.tolist() == [[0, 0, 1], [0, 1, 1]]


def test_only_regions_that_touch_by_an_edge_merge():
    red, blue = [1.0, 0.0], [0.0, 1.0]
    merged = Merge(0.7).one(Regions.singletons((2, 2)), grid_of([[red, blue], [blue, red]]))
    assert len(merged) == 4


def test_a_clip_merges_through_time():
    red, blue = [1.0, 0.0], [0.0, 1.0]
    merged = Merge(0.7).one(Regions.singletons((2, 1, 2)), grid_of([[[red, blue]], [[red, red]]]))
    assert merged.labels.tolist() == [[[0, 1]], [[0, 0]]]


def test_ties_go_to_the_first_patches():
    alike = grid_of(torch.ones(2, 3, 2))
    merged = [
        Merge(k=k).one(Regions.singletons((2, 3)), alike).labels.flatten().tolist()
        for k in (5, 4, 3, 2, 1)
    ]
    assert merged == [
        [0, 0, 1, 2, 3, 4],
        [0, 0, 0, 1, 2, 3],
        [0, 0, 0, 0, 1, 2],
        [0, 0, 0, 0, 0, 1],
        [0] * 6,
    ]


def test_heights_may_rise_and_the_threshold_still_stops_at_the_first_below():
    # every pair has cosine 1/2; after the first merge (2, 1, 1) and (0, 1, 1) have 1/sqrt(3) =
    # 0.577
    three = grid_of([[[1.0, 1, 0], [1, 0, 1], [0, 1, 1]]])
    sizes = {
        threshold: len(Merge(threshold).one(Regions.singletons((1, 3)), three))
        for threshold in (0.5, 0.51, 0.55, 0.58)
    }
    assert sizes == {0.5: 1, 0.51: 3, 0.55: 3, 0.58: 3}
    # heights 1, 0.5, 0.577, 0: counting those of at least 0.55 would make two merges, cutting at
    # the first below makes one
    four = grid_of([[[1.0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 3], [0, 0, 0, 1]]])
    assert Merge(0.55).one(Regions.singletons((1, 5)), four).labels.tolist() == [[0, 1, 2, 3, 3]]
    assert Merge(k=1).one(Regions.singletons((1, 5)), four).labels.tolist() == [[0, 0, 0, 0, 0]]


def test_threshold_is_reached_at_equality():
    row = grid_of([[[1.0, 1, 0], [1, 0, 1]]])
    assert len(Merge(0.5).one(Regions.singletons((1, 2)), row)) == 1
    assert len(Merge(0.5000011).one(Regions.singletons((1, 2)), row)) == 2


def test_source_stays_where_all_parts_share_it():
    masks = torch.zeros(7, 1, 8)
    # patch 4 lies in no region
    for region, patches in enumerate(([0], [1], [2], [3], [5], [6], [7])):
        masks[region, 0, patches] = 1
    start = Regions.from_masks(masks, source=torch.tensor([7, 7, 3, -1, 2, 4, 1]))
    ones, twos = [1.0, 0.0], [0.0, 1.0]
    merged = Merge(0.7).one(start, grid_of([[ones, ones, twos, twos, twos, twos, ones, ones]]))
    assert patches_of(merged) == [[0, 1], [2, 3], [5], [6, 7]]  # the gap stays a gap, and parts
    assert merged.source.tolist() == [7, -1, 2, -1]


def test_padding_parts_and_is_never_taken():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    grid = PatchGrid(torch.ones(4, 4, 2), frame)
    merged = Merge(k=1).one(Regions.singletons(grid.grid, grid.valid), grid)
    assert patches_of(merged) == [list(range(4, 12))]


def test_budgets_out_of_reach_name_both_numbers():
    grid = grid_of(torch.ones(2, 3, 2))
    with pytest.raises(ValueError, match=r"k=7 .* the start has 6"):
        Merge(k=7).one(Regions.singletons((2, 3)), grid)
    islands = Regions.from_labels(torch.tensor([[0, -1, 1], [2, -1, 3]]))
    assert len(Merge(k=2).one(islands, grid)) == 2
    with pytest.raises(ValueError, match=r"k=1 .* has 2 connected parts"):
        Merge(k=1).one(islands, grid)


def test_overlap_is_refused_and_the_message_says_what_to_do():
    with pytest.raises(
        ValueError,
        match=r"6 patches lie in several regions; .*segments\(\.\.\., resolve='smallest'\)",
    ):
        Merge(0.7).one(Regions.from_masks(torch.ones(2, 2, 3)), grid_of(torch.ones(2, 3, 2)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_without_a_number_never_become_a_grid(bad):
    features = torch.ones(2, 3, 2)
    features[1, 1, 0] = bad
    with pytest.raises(
        ValueError, match=r"features of cat\.jpg are NaN or infinite at 1 of 6 patches"
    ):
        grid_of(features, key="cat.jpg")


def test_settings_that_cannot_be():
    for wrong in ({}, {"threshold": 0.7, "k": 3}):
        with pytest.raises(ValueError, match="exactly one of threshold and k"):
            Merge(**wrong)
    with pytest.raises(ValueError, match=r"threshold 1.2 is no cosine: it must lie in \[-1, 1\]"):
        Merge(1.2)
    with pytest.raises(ValueError, match="at least one region, got k=0"):
        Merge(k=0)
    with pytest.raises(TypeError):
        Merge(0.7, 3)  # a bare second number would be mistaken for anything


def test_float64_features_are_not_rounded_to_float32():
    # in float32 both are zeros, which are alike
    tiny = torch.tensor([[[1e-60], [-1e-60]]], dtype=torch.float64)
    assert len(Merge(0.0).one(Regions.singletons((1, 2)), grid_of(tiny))) == 2
    assert len(Merge(0.0).one(Regions.singletons((1, 2)), grid_of(tiny.float()))) == 1

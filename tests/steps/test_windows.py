"""Windows: bands of the raster and 2-D windows, by eye and by count."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps._tiling import nearest_tiling
from regiontok.steps.windows import Windows
from samples.grids import blank_grid


def tiled(windows, grid):
    return windows.one(Regions.singletons(grid.grid, grid.valid), grid)


def test_bands_by_eye():
    labels = tiled(Windows(3), blank_grid(2, 4)).labels
    assert labels.tolist() == [[0, 0, 0, 1], [1, 1, 2, 2]]


def test_windows_by_eye():
    labels = tiled(Windows(4, "grid"), blank_grid(3, 4)).labels
    assert labels.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]


@pytest.mark.parametrize(("k", "sizes"), [(1, {576}), (5, {115, 116}), (10, {57, 58})])
def test_row_o9_tiles_576_patches_as_evenly_as_possible(k, sizes):
    regions = tiled(Windows(k), blank_grid(24, 24))
    assert set(regions.sizes.tolist()) == sizes
    assert len(regions) == k
    # in window order this is raster order: V tokens
    assert regions.patch.tolist() == list(range(576))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_bands_are_contiguous_even_and_cover_all(h, w, data):
    k = data.draw(st.integers(1, h * w))
    regions = tiled(Windows(k), blank_grid(h, w))
    assert regions.is_partition()
    assert len(regions) == k
    assert int(regions.sizes.max() - regions.sizes.min()) <= 1
    assert regions.patch.tolist() == list(range(h * w))


@pytest.mark.parametrize(
    ("h", "w", "k", "down", "across"),
    [
        (24, 24, 10, 2, 5),
        (24, 24, 9, 3, 3),
        (24, 24, 5, 1, 5),
        (6, 12, 2, 1, 2),
        (12, 6, 2, 2, 1),
        (2, 9, 6, 1, 6),
        (3, 3, 9, 3, 3),
    ],
)
def test_windows_take_the_most_nearly_square_factorisation(h, w, k, down, across):
    labels = tiled(Windows(k, "grid"), blank_grid(h, w)).labels
    assert labels[0].unique().tolist() == list(range(across))
    assert labels[:, 0].unique().tolist() == list(range(0, down * across, across))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_every_window_is_a_rectangle_of_even_sides(h, w, a, b):
    k = min(a, h) * min(b, w)
    regions = tiled(Windows(k, "grid"), blank_grid(h, w))
    assert regions.is_partition()
    assert len(regions) == k
    sides = []
    for mask in regions.masks:
        rows, cols = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & cols[None, :])
        sides.append((int(rows.sum()), int(cols.sum())))
    for side in zip(*sides, strict=True):
        assert max(side) - min(side) <= 1


@pytest.mark.parametrize("shape", ["bands", "grid"])
def test_padding_is_left_out_or_tiled_as_the_grid_says(shape):
    # patches of the first and the last row see padding only
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    dropped = tiled(Windows(4, shape), blank_grid(frame=frame))
    assert dropped.counts.tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]
    assert dropped.sizes.tolist() == [2, 2, 2, 2]
    tiled_padding = tiled(Windows(4, shape), blank_grid(frame=frame, padding="keep"))
    assert tiled_padding.is_partition()
    assert tiled_padding.sizes.tolist() == [4, 4, 4, 4]


def test_bands_of_a_clip_run_through_time():
    grid = PatchGrid(torch.zeros(2, 2, 3, 1), Frame.stretch((2, 3), (2, 3), (1, 1)))
    assert tiled(Windows(2), grid).labels.tolist() == [[[0] * 3] * 2, [[1] * 3] * 2]
    with pytest.raises(ValueError, match=r"need a grid \(h, w\); use shape='bands'"):
        tiled(Windows(2, "grid"), grid)


def test_windows_replace_what_comes_in():
    grid = blank_grid(2, 2)
    whole = Regions.from_masks(torch.ones(1, 2, 2))
    regions = Windows(2).one(whole, grid)
    assert regions.labels.tolist() == [[0, 0], [1, 1]]
    assert regions.source.tolist() == [-1, -1]


def test_windows_that_cannot_be():
    with pytest.raises(ValueError, match="at least one window, got k=0"):
        Windows(0)
    with pytest.raises(ValueError, match="cannot cut 6 patches into 7 windows"):
        tiled(Windows(7), blank_grid(2, 3))
    with pytest.raises(
        ValueError, match="5 windows do not tile a 3 x 4 grid; take another k, shape='bands' or"
    ):
        tiled(Windows(5, "grid"), blank_grid(3, 4))


def test_blocks_are_square_on_the_photo_not_on_the_stretched_grid():
    landscape, upright = (
        Frame.stretch((100, 400), (4, 4), (1, 1)),
        Frame.stretch((400, 100), (4, 4), (1, 1)),
    )
    assert (
        tiled(Windows(4, "photo"), blank_grid(frame=landscape)).labels.tolist()
        == [[0, 1, 2, 3]] * 4
    )
    assert (
        tiled(Windows(4, "photo"), blank_grid(frame=upright)).labels.T.tolist()
        == [[0, 1, 2, 3]] * 4
    )
    assert (
        tiled(Windows(4, "grid"), blank_grid(frame=landscape)).labels.tolist()
        == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2
    )


@pytest.mark.parametrize(
    ("k", "reached", "down"), [(4, 4, 2), (7, 6, 2), (11, 12, 3), (12, 12, 3), (5, 4, 2)]
)
def test_blocks_of_a_k_that_does_not_tile_are_the_nearest_that_do(k, reached, down):
    # 7 is as far from 6 as from 8: the fewer
    regions = tiled(Windows(k, "photo"), blank_grid(3, 4))
    assert len(regions) == reached
    assert regions.is_partition()
    assert len(regions.labels[:, 0].unique()) == down


def test_blocks_of_a_letterbox_lie_on_the_photo():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    dropped = tiled(Windows(2, "photo"), blank_grid(frame=frame))
    assert dropped.labels[1:3].tolist() == [[0, 0, 1, 1]] * 2
    assert dropped.counts[[0, 3]].sum() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.5, 1.0, 1.3]), st.data())
def test_cut_finds_what_trying_every_pair_finds(h, w, aspect, data):
    k = data.draw(st.integers(1, h * w))
    pairs = [(down, across) for down in range(1, h + 1) for across in range(1, w + 1)]
    best = min(
        pairs,
        key=lambda p: (
            abs(p[0] * p[1] - k),
            p[0] * p[1],
            abs(math.log(aspect * (h / p[0]) / (w / p[1]))),
        ),
    )
    assert nearest_tiling(k, h, w, aspect) == best

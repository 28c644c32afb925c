"""Stride: the patches of a regular sub-grid, by eye and by budget."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.stride import Stride
from regiontok.steps.windows import Windows
from samples.grids import blank_grid


def strided(k, grid):
    return Stride(k).one(Regions.singletons(grid.grid, grid.valid), grid)


def test_every_second_row_and_third_column():
    assert strided(4, blank_grid(4, 6)).labels.tolist() == [
        [-1] * 6,
        [-1, 0, -1, -1, 1, -1],
        [-1] * 6,
        [-1, 2, -1, -1, 3, -1],
    ]


def test_even_steps_where_sides_divide():
    rows = strided(144, blank_grid(24, 24)).patch.view(12, 12) // 24
    assert rows[:, 0].tolist() == list(range(1, 24, 2))


@pytest.mark.parametrize(("k", "reached"), [(1, 1), (16, 16), (29, 28), (144, 144), (576, 576)])
def test_k_is_exact_where_blocks_are_and_one_patch_lies_in_each_block(k, reached):
    grid = blank_grid(24, 24)
    regions = strided(k, grid)
    assert regions.sizes.tolist() == [1] * reached
    blocks = Windows(k, "photo").one(regions, grid).labels.flatten()
    assert blocks[regions.patch].tolist() == list(range(reached))


def test_the_sub_grid_lies_on_the_photo_not_on_its_padding():
    grid = blank_grid(frame=Frame.letterbox((4, 8), (8, 8), (2, 2)))
    assert strided(2, grid).patch.tolist() == [9, 11]
    with pytest.raises(ValueError, match="cannot keep 9 of 8 patches"):
        strided(9, grid)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="at least one patch, got k=0"):
        Stride(0)
    clip = PatchGrid(torch.zeros(2, 2, 3, 1), Frame.stretch((2, 3), (2, 3), (1, 1)))
    with pytest.raises(ValueError, match=r"stride needs a grid \(h, w\), got \(2, 2, 3\)"):
        strided(2, clip)

"""Random: k patches, drawn by seed, picture and epoch."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.steps.random import Random
from samples.grids import blank_grid


def kept_patches(step, grid):
    regions = step.one(Regions.singletons(grid.grid, grid.valid), grid)
    assert regions.sizes.tolist() == [1] * len(regions)
    assert regions.patch.tolist() == sorted(regions.patch.tolist())
    return set(regions.patch.tolist())


def test_exactly_k_patches_in_raster_order():
    assert len(kept_patches(Random(10), blank_grid())) == 10
    assert kept_patches(Random(48), blank_grid()) == set(range(48))


def test_draws_follow_seed_picture_and_epoch():
    grids = [blank_grid(key="a"), blank_grid(key="b"), blank_grid(key="a", draw=1)]
    draws = [kept_patches(Random(10), grid) for grid in grids] + [
        kept_patches(Random(10, seed=1), grids[0])
    ]
    assert all(draws[i] != draws[j] for i in range(4) for j in range(i))
    assert kept_patches(Random(10), blank_grid(key="a")) == draws[0]


def test_a_larger_budget_keeps_what_a_smaller_one_kept():
    grid = blank_grid(key="a")
    assert kept_patches(Random(5), grid) < kept_patches(Random(20), grid)


@pytest.mark.slow
def test_every_patch_is_drawn_as_often_as_any_other():
    counts = torch.zeros(48)
    for key in range(400):
        counts[list(kept_patches(Random(12), blank_grid(key=str(key))))] += 1
    # 400 draws of a quarter: 100 each, standard deviation 8.7; the largest of 48 deviations lies
    # below 4 of them in 997 of 1,000 runs, and this run is the same every time
    assert float((counts - 100).abs().max()) < 35


def test_padding_is_never_kept():
    grid = blank_grid(frame=Frame.letterbox((4, 8), (8, 8), (2, 2)))
    assert kept_patches(Random(8), grid) == set(range(4, 12))
    with pytest.raises(ValueError, match="cannot keep 9 of 8 patches"):
        kept_patches(Random(9), grid)


def test_k_below_one():
    with pytest.raises(ValueError, match="at least one patch, got k=0"):
        Random(0)

"""Drop: small regions, and those that repeat an earlier one."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.regions import Regions
from regiontok.steps.drop import Drop
from samples.grids import blank_grid

GRID = blank_grid(2, 3)
MASKS = torch.tensor(
    [
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1]],
        [[1, 1, 0], [0, 0, 0]],  # the first again
        [[1, 1, 0], [1, 0, 0]],
        [[0, 0, 0], [0, 0, 1]],  # the second again
    ]
)


@pytest.mark.parametrize(
    ("drop", "left"),
    [
        (Drop(below=2), [0, 2, 3]),
        (Drop(below=3), [3]),
        (Drop(below=4), []),
        (Drop(duplicates=True), [0, 1, 3]),
        (Drop(below=2, duplicates=True), [0, 3]),
    ],
)
def test_what_is_left(drop, left):
    regions = drop.one(Regions.from_masks(MASKS), GRID)
    assert regions.source.tolist() == left
    assert torch.equal(regions.masks, MASKS[left].bool())


def test_no_regions_stay_none():
    nothing = Regions.from_masks(torch.zeros(0, 2, 3))
    assert len(Drop(below=2).one(nothing, GRID)) == 0
    assert len(Drop(duplicates=True).one(nothing, GRID)) == 0


@pytest.mark.parametrize("wrong", [{}, {"below": 0}, {"below": -1, "duplicates": True}])
def test_settings_that_drop_nothing_are_refused(wrong):
    with pytest.raises(
        ValueError, match="says nothing to drop: give below=2 or more, or duplicates=True"
    ):
        Drop(**wrong)

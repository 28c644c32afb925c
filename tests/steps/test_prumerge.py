"""PruMerge-like selection, by eye."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.prumerge import Prumerge, outliers
from samples.grids import attended_grid, patches_from

ANGLES = torch.tensor([[0.0, 0.1, 1.5, 1.6, 0.2, 3.0]])
FAN = torch.stack([ANGLES.cos(), ANGLES.sin()], -1)
ATTENTION = [[0.5, 0.1, 0.0, 0.3, 0.05, 0.05]]


def test_centres_take_their_most_similar_patches_and_the_rest_is_one_region():
    assert patches_from(Prumerge(3, neighbours=1), attended_grid(ATTENTION, FAN)) == [
        [0, 1],
        [2, 3],
        [1, 2, 4, 5],
    ]
    assert patches_from(Prumerge(3, neighbours=0), attended_grid(ATTENTION, FAN)) == [
        [0],
        [3],
        [1, 2, 4, 5],
    ]


def test_more_neighbours_than_patches_is_every_patch():
    assert patches_from(Prumerge(2), attended_grid(ATTENTION, FAN)) == [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5],
    ]


def test_a_centre_stays_in_its_region_when_all_patches_are_alike():
    assert patches_from(Prumerge(3, neighbours=1), attended_grid([[0.0, 0.1, 0.5, 0.4]])) == [
        [0, 2],
        [0, 3],
        [0, 1],
    ]


def test_exact_budgets_up_to_all_patches():
    for k in range(1, 7):
        assert len(patches_from(Prumerge(k), attended_grid(ATTENTION, FAN))) == k
    with pytest.raises(ValueError, match="cannot make 7 regions of 6 patches"):
        patches_from(Prumerge(7), attended_grid(ATTENTION, FAN))


def test_without_a_budget_the_outliers_of_the_image_are_centres():
    attention = [[0.01, 0.02, 0.01, 0.02, 0.9, 0.01, 0.02, 0.8]]
    assert patches_from(Prumerge(neighbours=0), attended_grid(attention)) == [
        [4],
        [7],
        [0, 1, 2, 3, 5, 6],
    ]
    assert patches_from(Prumerge(), attended_grid([[0.25] * 4])) == [[0, 1, 2, 3]]  # no outlier
    assert outliers(torch.tensor([1.0, 2.0, 3.0, 4.0, 7.0])) == 0  # 4 + 1.5 * 2 is not exceeded


def test_padding_stays_out():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    grid = PatchGrid(torch.ones(4, 4, 2), frame, cls_attention=torch.arange(16.0).view(4, 4))
    regions = Prumerge(3, neighbours=8).one(Regions.singletons(grid.grid, grid.valid), grid)
    assert regions.patch.unique().tolist() == list(range(4, 12))


def test_what_cannot_be():
    with pytest.raises(ValueError, match="at least one region, got k=0"):
        Prumerge(0)
    with pytest.raises(ValueError, match="neighbours must be at least 0, got -1"):
        Prumerge(4, -1)
    with pytest.raises(
        ValueError, match=r"prumerge chooses by the attention of CLS .* cls_attention=True"
    ):
        patches_from(Prumerge(2), attended_grid(ATTENTION, FAN).but(cls_attention=None))

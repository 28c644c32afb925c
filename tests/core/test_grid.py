"""PatchGrid: features on their frame, or an error that says what does not fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid

# 4 x 4 patches, of which the first and the last row are padding
FRAME = Frame.letterbox((100, 200), canvas=(56, 56), patch=(14, 14))


def test_by_hand():
    grid = PatchGrid(torch.arange(48.0).view(4, 4, 3), FRAME)
    assert grid.grid == (4, 4)
    assert grid.patches == 16
    assert grid.pooled is grid.features
    assert grid.valid.tolist() == [[False] * 4, [True] * 4, [True] * 4, [False] * 4]
    assert grid.but(padding="keep").valid.all()
    assert grid.padding == "drop"


def test_values_are_what_pools_read():
    values = torch.zeros(4, 4, 7)
    grid = PatchGrid(torch.zeros(4, 4, 3), FRAME, values=values)
    assert grid.pooled is values
    with pytest.raises(
        ValueError, match=r"values \[4, 3, 7\] lie on another grid than features \[4, 4, 3\]"
    ):
        grid.but(values=torch.zeros(4, 3, 7))


def test_clips():
    grid = PatchGrid(torch.zeros(5, 4, 4, 3), FRAME)
    assert grid.grid == (5, 4, 4)
    assert grid.patches == 80
    assert grid.valid.shape == (5, 4, 4)
    assert int(grid.valid.sum()) == 40
    with pytest.raises(ValueError, match="another grid"):
        grid.but(values=torch.zeros(4, 4, 3))


@pytest.mark.parametrize("shape", [(16, 3), (4, 3, 3), (3, 4, 3), (1, 1, 4, 4, 3), (3, 4, 4)])
def test_features_of_another_shape(shape):
    with pytest.raises(
        ValueError, match=r"expected features \[h w d\] on the grid \(4, 4\), got \["
    ):
        PatchGrid(torch.zeros(shape), FRAME)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_that_are_no_numbers(bad, dtype):
    features = torch.zeros(4, 4, 3, dtype=dtype)
    features[1, 2, 0] = features[1, 2, 1] = features[3, 3, 2] = bad
    with pytest.raises(
        ValueError, match="features of an image are NaN or infinite at 2 of 16 patches"
    ):
        PatchGrid(features, FRAME)
    with pytest.raises(ValueError, match="values of photo are NaN or infinite at 2 of 16 patches"):
        PatchGrid(torch.zeros(4, 4, 3), FRAME, values=features, key="photo")


def test_a_grid_is_frozen():
    grid = PatchGrid(torch.zeros(4, 4, 3), FRAME)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.key = "x"
    assert grid.but(key="x", draw=3).draw == 3
    assert grid.draw == 0


def test_grids_without_a_key_are_told_apart_by_their_features():
    first, second = (PatchGrid(torch.full((4, 4, 3), value), FRAME) for value in (0.0, 1.0))
    assert first.identity != second.identity
    assert first.identity == PatchGrid(torch.zeros(4, 4, 3), FRAME).identity
    assert first.but(key="photo").identity == "photo"
    for dtype in (torch.bfloat16, torch.float64):
        assert first.but(features=first.features.to(dtype)).identity

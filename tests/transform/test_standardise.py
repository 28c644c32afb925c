"""Standardised channels: by hand, with the floor that keeps still channels still."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.transform.standardise import Standardise
from samples.grids import grid_of


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_by_hand():
    features = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[1.0, 5.0], [3.0, 5.0]]])
    after = Standardise().one(grid_of(features)).features
    torch.testing.assert_close(
        after, torch.tensor([[[-1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [1.0, 0.0]]])
    )


def test_every_channel_has_mean_zero_and_deviation_one():
    features = draw(6, 7, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + torch.arange(5)
    flat = Standardise().one(grid_of(features)).features.flatten(0, 1)
    torch.testing.assert_close(
        flat.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(flat.std(0, correction=0), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(("floor", "expected"), [(0.0, 1.0), (0.05, 0.2), (1.0, 0.01)])
def test_a_channel_that_hardly_moves_is_not_blown_up(floor, expected):
    features = torch.tensor([[[-1.0, -0.01], [1.0, 0.01]]])
    after = Standardise(floor).one(grid_of(features)).features
    torch.testing.assert_close(after, torch.tensor([[[-1.0, -expected], [1.0, expected]]]))


def test_scale_and_shift_of_the_features_change_nothing():
    features = draw(4, 5, 3)
    plain, moved = (
        Standardise().one(grid_of(values)).features for values in (features, features * 1.7e3 - 40)
    )
    torch.testing.assert_close(plain, moved)


# the first and the last of four rows see padding only
LETTERBOX = Frame.letterbox((4, 8), (8, 8), (2, 2))


def test_padding_counts_for_nothing_unless_it_is_kept():
    features = draw(4, 4, 3)
    features[[0, 3]] = 50.0
    alone = Standardise().one(grid_of(features[1:3])).features
    dropped = Standardise().one(grid_of(features, LETTERBOX)).features
    torch.testing.assert_close(dropped[1:3], alone)
    assert not bool(dropped[[0, 3]].any())
    with_padding = Standardise().one(grid_of(features, LETTERBOX, padding="keep")).features
    assert not torch.allclose(with_padding[1:3], alone)
    torch.testing.assert_close(
        with_padding.mean((0, 1)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_padding_unlike_a_nearly_still_picture_does_not_overflow_float16():
    features = torch.full((4, 4, 2), 1.0, dtype=torch.float16)
    features[1, 0, 0] = 1.001
    features[[0, 3]] = 1000.0
    assert bool(Standardise().one(grid_of(features, LETTERBOX)).features.isfinite().all())


@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, -1e4])
def test_a_view_without_variation_becomes_zeros(level):
    assert not bool(Standardise().one(grid_of(torch.full((5, 7, 3), level))).features.any())
    # one patch has none
    assert not bool(Standardise().one(grid_of(torch.tensor([[[level, 2.0]]]))).features.any())


def test_variation_of_the_last_bit_is_none():
    features = torch.full((24, 24, 8), 0.1)
    bits = torch.randint(-1, 2, features.shape, generator=torch.Generator().manual_seed(0))
    assert not bool(Standardise().one(grid_of(features + bits * 2.0**-27)).features.any())


def test_a_clip_is_standardised_as_a_whole():
    clip = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 2, 2, 1)
    frame = Frame.stretch((2, 2), (2, 2), (1, 1))
    after = Standardise().one(PatchGrid(clip, frame)).features
    torch.testing.assert_close(after, 2 * clip - 1)


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_floor_outside_its_range(floor):
    with pytest.raises(ValueError, match=r"floor .* lies outside \[0, 1\]"):
        Standardise(floor)

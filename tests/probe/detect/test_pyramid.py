"""The pyramid: where its cells lie, for grids that no stride divides, and which weights it has."""

from __future__ import annotations

import pytest
import torch

from regiontok.probe.detect.pyramid import ChannelNorm, FeaturePyramid, repeated


@pytest.mark.parametrize(("side", "coarse"), [(12, (6, 3)), (27, (14, 7))])
def test_levels_are_four_to_a_quarter_times_the_map(side, coarse):
    levels = FeaturePyramid(5, 8)(torch.rand(2, 5, side, side + 1))
    assert [tuple(level.shape[:2]) for level in levels] == [(2, 8)] * 5
    heights = [level.shape[2] for level in levels]
    assert heights == [4 * side, 2 * side, side, *coarse]


def test_repeating_behind_the_first_convolution_is_repeating_in_front_of_it():
    pyramid, maps = FeaturePyramid(5, 8), torch.rand(1, 5, 3, 4)
    expected = pyramid.smooth[0](pyramid.lateral[0](repeated(maps, 4)))
    torch.testing.assert_close(pyramid(maps)[0], expected)


def test_a_norm_is_of_each_cell_by_itself():
    normed = ChannelNorm(8)(torch.rand(2, 8, 3, 3) * 50)
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        normed.var(1, unbiased=False), torch.ones(2, 3, 3), atol=1e-3, rtol=0
    )

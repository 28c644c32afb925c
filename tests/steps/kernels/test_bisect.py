"""Halving of segments across their principal direction."""

from __future__ import annotations

import pytest
import torch

from regiontok.steps.kernels.bisect import bisected


def names(label, rows, least):
    return bisected(torch.tensor(label), torch.tensor(rows), least).tolist()


def test_the_segment_of_largest_scatter_is_cut_at_its_mean():
    rows = [[0.0, 0], [9, 0], [1, 0], [0, 1], [0, 0], [8, 0]]
    label = [0, 0, 0, 3, 3, 0]
    assert names(label, rows, 2) == label
    assert names(label, rows, 3) == [0, 1, 0, 3, 3, 1]
    assert names(label, rows, 6) == [0, 1, 2, 3, 4, 5]


def test_equal_points_are_halved_in_their_order():
    assert names([0, 0, 0, 0], [[1.0, 2.0]] * 4, 2) == [0, 0, 2, 2]
    assert names([0, 0, 0], [[0.0]] * 3, 3) == [0, 1, 2]


def test_more_regions_than_patches_are_refused():
    with pytest.raises(ValueError, match="3 patches cannot become 4 regions"):
        names([0, 0, 0], [[0.0]] * 3, 4)


@pytest.mark.parametrize("least", [1, 7, 20, 60])
def test_parts_are_nested_and_as_many_as_asked(least):
    generator = torch.Generator().manual_seed(least)
    rows = torch.randn(60, 5, generator=generator)
    label = torch.arange(60) // 20 * 20
    parts = bisected(label, rows, least)
    assert len(parts.unique()) == max(least, 3)
    assert torch.equal(parts // 20 * 20, label)
    assert torch.equal(parts, bisected(label, rows.clone(), least))

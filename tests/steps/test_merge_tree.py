"""One run of merging, every cut of it; and many views at once."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.merge import Merge, merge_tree
from samples.grids import grid_of


def noise(seed: int, h: int = 6, w: int = 7, d: int = 5) -> PatchGrid:
    return grid_of(
        torch.randn(h, w, d, generator=torch.Generator().manual_seed(seed)).cumsum(0).cumsum(1)
    )


def test_every_budget_and_threshold_is_a_cut_of_one_tree():
    for seed in range(4):
        grid = noise(seed)
        start = Regions.singletons(grid.grid)
        tree = merge_tree(start, grid)
        for k in range(1, 43):
            cut = tree.cut(k=k)
            assert len(cut) == k
            assert torch.equal(cut.labels, Merge(k=k).one(start, grid).labels)
        for threshold in (-1.0, 0.2, 0.5, 0.7, 0.9, 0.99, 1.0):
            assert torch.equal(tree.cut(threshold).labels, Merge(threshold).one(start, grid).labels)


def test_heights_that_rise_do_not_fool_a_cut():
    """0 and 60 degrees merge at 0.5.

    Their mean, 30 degrees, is nearer (0.57) to -25 than either neighbour was.
    """
    angles = torch.tensor([0.0, 60.0, -25.0]).deg2rad()
    grid = grid_of(torch.stack([angles.cos(), angles.sin()], -1)[None])
    tree = merge_tree(Regions.singletons((1, 3)), grid)
    assert tree.sequence.heights.round(2).tolist() == [0.5, 0.57]
    assert len(tree.cut(0.55)) == 3  # the first merge is below, so the second never happens
    assert len(tree.cut(0.45)) == 1


def test_a_tree_starts_from_any_regions_and_keeps_gaps_and_sources():
    start = Regions.from_labels(
        torch.tensor([[0, 0, -1, 1], [2, 2, 3, 3]]), torch.tensor([5, 6, 5, 5])
    )
    grid = grid_of(torch.ones(2, 4, 3))
    tree = merge_tree(start, grid)
    assert len(tree.cut(k=4)) == 4
    single = tree.cut(k=1)
    assert single.labels.tolist() == [[0, 0, -1, 0], [0, 0, 0, 0]]
    assert single.source.tolist() == [-1]
    assert tree.cut(k=3).source.tolist() == [5, 6, 5]


def test_a_cut_says_what_it_cannot_do():
    grid = noise(0, 2, 2)
    tree = merge_tree(Regions.singletons((2, 2)), grid)
    with pytest.raises(
        ValueError, match="k=5 regions: this sequence goes from 4 regions down to 1"
    ):
        tree.cut(k=5)
    with pytest.raises(ValueError, match="exactly one of threshold and k"):
        tree.cut()


@pytest.mark.parametrize("step", [Merge(0.6), Merge(k=4)])
def test_many_views_at_once_are_each_view_alone(step):
    grids = [noise(seed, 3 + seed, 5) for seed in range(6)]
    starts = [Regions.singletons(grid.grid) for grid in grids]
    for alone, together in zip(map(step.one, starts, grids), step.many(starts, grids), strict=True):
        assert torch.equal(alone.labels, together.labels)


def test_flat_and_zero_views_are_one_region():
    for value in (0.0, 3.0):
        grid = grid_of(torch.full((4, 4, 3), value))
        assert len(merge_tree(Regions.singletons((4, 4)), grid).cut(0.99)) == 1

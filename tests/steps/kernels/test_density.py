"""DBSCAN by blocks: the same clusters as at once, in little memory."""

from __future__ import annotations

import pytest
import torch

from regiontok.steps.kernels import density
from regiontok.steps.kernels.density import Points, density_clusters, nearest_clusters


def points_of(seed: int) -> Points:
    """Segments of many sizes that overlap, on features in bunches with noise between them."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(9, 6, generator=generator)
    rows = centres[torch.randint(0, 9, (90,), generator=generator)]
    rows = torch.nn.functional.normalize(
        rows + 0.4 * torch.randn(90, 6, generator=generator), dim=1
    )
    sizes = (1, 40, 7, 64, 2)
    segment = torch.repeat_interleave(torch.arange(5), torch.tensor(sizes))
    patches = [torch.randperm(90, generator=generator)[:size].sort().values for size in sizes]
    return Points(segment, torch.cat(patches), rows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [1, 50, 700])
def test_blocks_give_the_clusters_of_one_matrix(seed, block, monkeypatch):
    points = points_of(seed)
    label = density_clusters(points, 0.6, 3)
    nearest = nearest_clusters(points, label)
    assert (label < 0).any()
    assert (nearest != label).any()
    monkeypatch.setattr(density, "BLOCK", block)
    again = points_of(seed)
    assert torch.equal(density_clusters(again, 0.6, 3), label)
    assert torch.equal(nearest_clusters(again, label), nearest)


@pytest.mark.parametrize("block", [1, 300, 10_000])
def test_no_block_is_larger_than_it_may_be_and_none_is_missing(block, monkeypatch):
    monkeypatch.setattr(density, "BLOCK", block)
    points = points_of(0)
    pairs = torch.zeros(len(points), len(points), dtype=torch.int64)
    for part in points.blocks():
        rows = part.points.stop - part.points.start
        assert rows == 1 or part.distance.numel() <= block
        assert part.distance.shape == part.same.shape
        pairs[part.points, part.others] += part.same
    assert torch.equal(pairs, (points.segment[:, None] == points.segment).long())


@pytest.mark.slow
def test_a_large_region_needs_no_memory_for_all_of_its_pairs():
    """96 x 96 patches in one region took 5.6 GiB; the largest tensor of a block is 40 MB."""
    tracked = []
    rows = torch.randn(96 * 96, 8, generator=torch.Generator().manual_seed(0))
    points = Points(torch.zeros(9216, dtype=torch.int64), torch.arange(9216), rows)
    for block in points.blocks():
        tracked.append(block.distance.untyped_storage().nbytes())
    assert max(tracked) <= 8 * density.BLOCK
    assert len(set(tracked)) <= 2  # one room for all blocks

"""What steps read of the grids, which the head decides."""

from __future__ import annotations

import pytest
import torch

from regiontok.connect.linear import Linear
from regiontok.core.regions import Members, Regions
from regiontok.pool.mean import Mean
from regiontok.tokenizer.head import VisualHead
from samples.grids import grid_of

GRID = grid_of([[[3.0, 4.0], [0.0, 2.0]]])


def test_steps_read_the_features_as_they_are():
    head = VisualHead(2, norm="rms", pool=Mean())
    assert head.read_by_steps([GRID]) == [GRID]


def test_steps_read_what_the_norm_gives_and_pools_read_what_they_read_before():
    head = VisualHead(2, norm="rms", partition_on="normed", pool=Mean())
    with torch.no_grad():
        head.norm.weight.copy_(torch.tensor([1.0, 0.0]))
        (grid,) = head.read_by_steps([GRID])
    expected = torch.tensor([[[3 / 12.5**0.5, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(grid.features, expected)
    assert torch.equal(grid.pooled, GRID.features)


def test_what_cannot_be_partitioned_on_is_refused():
    with pytest.raises(ValueError, match="partition_on='normed' needs a norm: say norm='rms'"):
        VisualHead(2, partition_on="normed", pool=Mean())
    with pytest.raises(ValueError, match="partition_on must be 'raw' or 'normed', not 'norm'"):
        VisualHead(2, norm="rms", partition_on="norm", pool=Mean())


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", ["none", "rms"])
def test_tokens_have_the_type_of_the_features(norm, dtype, weights):
    head = VisualHead(2, norm=norm, pool=Mean(), connector=Linear(), out=3).to(weights)
    grid = GRID.but(features=GRID.features.to(dtype))
    members = Members.of([Regions.singletons(grid.grid)], [0])
    tokens = head([grid], members)
    assert tokens.values.shape == (2, 3)
    if norm == "none" or weights == torch.float32:
        assert tokens.dtype == dtype

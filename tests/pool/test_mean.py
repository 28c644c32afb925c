"""Mean pooling: by hand, against a loop, and in half precision."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.regions import Members, Regions
from regiontok.pool.mean import Mean


def pooled(values, *views):
    return Mean().build(values.shape[1])(values, Members.of(views))


def test_means_by_hand():
    regions = Regions.from_masks(torch.tensor([[[1, 1], [0, 0]], [[0, 1], [1, 1]]]))
    values = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0], [7.0, 0.0]])
    tokens = pooled(values, regions)
    assert tokens.values.tolist() == [[2.0, 0.0], [5.0, 2.0]]
    assert (tokens.region.tolist(), tokens.patch.tolist()) == ([0, 1], [-1, -1])


def test_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    views = [Regions.from_masks(torch.rand(k, 6, 7, generator=generator) < 0.4) for k in (4, 0, 9)]
    values = torch.randn(3 * 42, 5, generator=generator, dtype=torch.float64)
    expected = [
        values[42 * i :][:42][mask.flatten()].mean(0)
        for i, view in enumerate(views)
        for mask in view.masks
    ]
    torch.testing.assert_close(
        pooled(values, *views).values, torch.stack(expected), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize(
    ("dtype", "first", "last"), [(torch.bfloat16, 256.0, 1.0), (torch.float16, 2048.0, 1.0)]
)
def test_half_precision_is_summed_in_float32(dtype, first, last):
    # adding ones one by one to the first number would change nothing in its own precision: the mean
    # would be first / 1025
    values = torch.full((1025, 1), last, dtype=dtype)
    values[0] = first
    mean = pooled(values, Regions.from_masks(torch.ones(1, 1, 1025)))
    assert mean.values.dtype == dtype
    assert float(mean.values[0, 0]) == float(torch.tensor((first + 1024) / 1025).to(dtype))


def test_sums_beyond_float16_are_no_infinity():
    values = torch.full((4, 1), 6e4, dtype=torch.float16)
    assert float(pooled(values, Regions.from_masks(torch.ones(1, 2, 2))).values[0, 0]) == float(
        values[0, 0]
    )


def test_gradient_is_one_over_the_size():
    values = torch.zeros(4, 1, requires_grad=True)
    regions = Regions.from_masks(torch.tensor([[[1, 1], [0, 0]], [[0, 1], [1, 1]]]))
    pooled(values, regions).values.sum().backward()
    torch.testing.assert_close(
        values.grad[:, 0], torch.tensor([1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3])
    )

"""Pooling of boxes reads the place that is meant, at strides of any size."""

from __future__ import annotations

import pytest
import torch

from regiontok.probe.detect.roi_pooling import level_of, pool_boxes


def coordinates(grid: tuple[int, int], stride: tuple[float, float]) -> torch.Tensor:
    """A map whose cells hold the canvas position of their own middle: `[1 2 h w]`, x first."""
    rows, columns = ((torch.arange(n) + 0.5) * s for n, s in zip(grid, stride, strict=True))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y])[None]


@pytest.mark.parametrize("patch", [(14, 14), (16, 16), (14, 16)])
def test_a_map_of_coordinates_is_read_at_the_box(patch):
    strides = [(patch[0] / factor, patch[1] / factor) for factor in (4, 2, 1, 0.5)]
    grid = [(int(36 * factor), int(40 * factor)) for factor in (4, 2, 1, 0.5)]
    levels = [coordinates(*pair) for pair in zip(grid, strides, strict=True)]
    boxes = torch.tensor(
        [
            [396.0, 200.0, 404.0, 210.0],
            [300.0, 100.0, 500.0, 250.0],
            [350.0, 150.0, 450.0, 220.0],
            [100.0, 60.0, 400.0, 300.0],
            [20.0, 20.0, 530.0, 480.0],
        ]
    )
    assert level_of(boxes, strides).tolist() == [0, 1, 0, 2, 3]
    pooled = pool_boxes(levels, strides, [boxes], 7)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    torch.testing.assert_close(pooled.mean((2, 3)), middles, atol=1e-2, rtol=0)


def test_rows_stand_in_the_order_of_the_boxes_and_read_their_own_picture():
    maps = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    boxes = [torch.tensor([[8.0, 8.0, 24.0, 24.0]] * 2), torch.tensor([[0.0, 0.0, 100.0, 100.0]])]
    levels, strides = [maps, maps[:, :, ::2, ::2]], [(16.0, 16.0), (32.0, 32.0)]
    assert pool_boxes(levels, strides, boxes, 2).mean((1, 2, 3)).tolist() == [0.0, 0.0, 1.0]
    assert pool_boxes(levels, strides, [boxes[0][:0]] * 2, 2).shape == (0, 1, 2, 2)

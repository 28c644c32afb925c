"""Which masks become proposals: scores, suppression, sizes, and the way back from a copy."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.core.masks import PixelMasks
from regiontok.curate.plan import ProposePlan
from regiontok.curate.proposals import enlarged_boxes, enlarged_masks, proposals_of, suppressed

SIZE = (30, 60)


def masks(*boxes: tuple[int, int, int, int], scores=None) -> PixelMasks:
    """Masks that fill their boxes, xyxy."""
    dense = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return PixelMasks.from_dense(dense, scores)


def plan(**settings) -> ProposePlan:
    return ProposePlan(**{"shorter_edge": 10, **settings})


def test_boxes_whose_shorter_edge_is_too_short_go():
    found = proposals_of(masks((0, 0, 60, 9), (0, 0, 10, 30), (20, 5, 40, 25)), SIZE, plan())
    assert found.boxes.tolist() == [[0, 0, 10, 30], [20, 5, 40, 25]]
    assert found.masks == ()


def test_the_shorter_edge_counts_pixels_of_the_image():
    found = proposals_of(masks((0, 0, 5, 30), (20, 5, 40, 25)), (60, 120), plan(shorter_edge=11))
    assert found.boxes.tolist() == [[40, 10, 80, 50]]


def test_the_segmenters_own_scores_order_and_suppress():
    overlapping = [(0, 0, 20, 20), (0, 0, 20, 18), (30, 0, 50, 20)]
    found = proposals_of(masks(*overlapping, scores=[0.5, 0.9, 0.7]), SIZE, plan())
    assert found.boxes.tolist() == [[0, 0, 20, 18], [30, 0, 50, 20]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    everything = proposals_of(masks(*overlapping, scores=[0.5, 0.9, 0.7]), SIZE, plan(overlap=1.0))
    assert len(everything) == 3


def test_without_scores_the_share_of_the_box_that_is_filled_counts():
    ring = np.zeros((2, *SIZE), bool)
    ring[0, :, :] = True
    ring[0, 5:25, 5:55] = False
    ring[1, 5:25, 5:55] = True
    found = proposals_of(PixelMasks.from_dense(ring), SIZE, plan())
    assert found.boxes.tolist() == [[5, 5, 55, 25], [0, 0, 60, 30]]
    assert found.scores.tolist() == pytest.approx([1, 800 / 1800])


def test_an_empty_mask_and_no_mask_give_no_proposal():
    empty = PixelMasks.from_dense(np.zeros((1, *SIZE), bool))
    assert len(proposals_of(empty, SIZE, plan(masks=True))) == 0
    assert len(proposals_of(PixelMasks(SIZE, ()), SIZE, plan(masks=True))) == 0


def test_of_equal_scores_the_first_box_stays():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9]], float)
    assert suppressed(boxes, np.ones(3), 0.7).tolist() == [0]
    assert suppressed(boxes[:0], np.ones(0), 0.7).tolist() == []


def test_suppression_equals_the_definition_on_random_boxes():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 50, (2, 60, 2)), axis=0)
    boxes, scores = np.concatenate(list(corners), axis=1), rng.permutation(60) / 60
    chosen = suppressed(boxes, scores, 0.4)
    iou = intersection_over_union(boxes)
    assert 5 < len(chosen) < 60
    assert scores[chosen].tolist() == sorted(scores[chosen], reverse=True)
    for box in range(60):
        better = [other for other in chosen if scores[other] > scores[box]]
        assert (box in chosen) == (iou[box, better].max(initial=0) <= 0.4)


def intersection_over_union(boxes: np.ndarray) -> np.ndarray:
    lower = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(upper - lower, 0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / (areas[:, None] + areas[None] - shared)


@pytest.mark.parametrize("size", [(30, 60), (31, 61), (100, 97), (45, 360), (480, 640)])
def test_boxes_on_the_image_are_those_of_the_masks_there(size):
    rng = np.random.default_rng(1)
    small = PixelMasks.from_labels(rng.integers(0, 40, SIZE))
    boxes = enlarged_boxes(small.boxes, SIZE, size)
    large = enlarged_masks(small, size)
    assert large.size == size
    assert np.array_equal(boxes, large.boxes)
    assert large.areas.sum() == size[0] * size[1], "a partition stays one"


def test_kept_masks_are_those_of_the_boxes():
    found = proposals_of(masks((0, 0, 5, 30), (20, 5, 40, 25)), (60, 120), plan(masks=True))
    assert PixelMasks((60, 120), found.masks).boxes.tolist() == found.boxes.tolist()
    assert PixelMasks((60, 120), found.masks).areas.tolist() == [10 * 60, 40 * 40]

"""The cascade: what is matched, what a stage learns, and what identical stages give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from regiontok.probe.detect.cascade import BoxHead, Cascade, match, scaled_gradient

EXTENT = (100.0, 100.0)
TRUTH = torch.tensor([[10.0, 10.0, 50.0, 50.0], [60.0, 20.0, 90.0, 80.0]])
CLASSES = torch.tensor([2, 0])


def pool(boxes):
    """Features that say where a box is: `[n 4 1 1]`."""
    return torch.cat(list(boxes))[:, :, None, None] / 100


def head(seed: int = 0, *, moves: bool = True) -> BoxHead:
    torch.manual_seed(seed)
    made = BoxHead(4, 1, 16, classes=3)
    nn.init.normal_(made.score.weight)
    nn.init.normal_(made.box.weight, std=1.0 if moves else 0.0)
    return made


def test_a_box_is_matched_with_the_object_that_it_overlaps_most():
    boxes = torch.tensor(
        [[10.0, 10.0, 50.0, 40.0], [60.0, 20.0, 90.0, 80.0], [0.0, 0.0, 20.0, 20.0]]
    )
    assert box_iou(boxes, TRUTH).amax(1)[0] == pytest.approx(0.75)
    loose, strict = (match(boxes, TRUTH, CLASSES, threshold) for threshold in (0.7, 0.8))
    assert loose.labels.tolist() == [3, 1, 0]
    assert loose.true_boxes[:2].tolist() == TRUTH.tolist()
    assert strict.labels.tolist() == [0, 1, 0]
    assert match(boxes, TRUTH[:0], CLASSES[:0], 0.5).labels.tolist() == [0, 0, 0]


def test_identical_heads_that_move_no_box_equal_one_stage():
    boxes = [torch.tensor([[5.0, 5.0, 40.0, 60.0], [50.0, 10.0, 99.0, 99.0]])]
    three = Cascade([head(moves=False) for _ in range(3)], 8).scores_and_boxes(pool, boxes, EXTENT)
    one = Cascade([head(moves=False)], 8).scores_and_boxes(pool, boxes, EXTENT)
    torch.testing.assert_close(three, one)
    assert one[0][0].shape == (2, 3)
    torch.testing.assert_close(one[0][1], boxes[0])


def test_scores_are_means_over_stages_and_boxes_are_those_of_the_last():
    stages = [head(seed) for seed in range(3)]
    boxes = [torch.tensor([[5.0, 5.0, 40.0, 60.0]]), torch.tensor([[50.0, 10.0, 99.0, 99.0]])]
    cascade = Cascade(stages, 8)
    current, total = torch.cat(boxes), torch.zeros(2, 4)
    for stage, coder in zip(stages, cascade.coders, strict=True):
        logits, deltas = stage(pool([current]))
        total += logits.softmax(1)
        current = coder.decode_single(deltas, current).clamp(0, 100)
    found = cascade.scores_and_boxes(pool, boxes, EXTENT)
    torch.testing.assert_close(torch.cat([scores for scores, _ in found]), total[:, 1:] / 3)
    torch.testing.assert_close(torch.cat([own for _, own in found]), current)


def test_losses_are_of_three_stages_and_reach_every_head():
    cascade = Cascade([head(seed, moves=False) for seed in range(3)], 16)
    proposals = [torch.tensor([[12.0, 8.0, 55.0, 50.0], [0.0, 60.0, 30.0, 99.0]]), TRUTH[:0]]
    truth = [(TRUTH, CLASSES), (TRUTH[:0], CLASSES[:0])]
    losses, sampled = cascade.losses(pool, proposals, truth, EXTENT)
    assert list(losses) == ["class_1", "box_1", "class_2", "box_2", "class_3", "box_3"]
    # the true boxes are proposals, too
    assert [len(own.boxes) for own in sampled] == [4, 0]
    assert sorted(sampled[0].labels.tolist()) == [0, 1, 3, 3]
    sum(losses.values()).backward()
    assert all(own.score.weight.grad.abs().sum() > 0 for own in cascade.heads)


def test_pictures_without_any_object_or_proposal_give_finite_losses():
    cascade = Cascade([head() for _ in range(3)], 16)
    losses, _ = cascade.losses(pool, [TRUTH[:0]], [(TRUTH[:0], CLASSES[:0])], EXTENT)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_gradients_of_features_are_a_third():
    values = torch.ones(2, requires_grad=True)
    scaled = scaled_gradient(values)
    assert scaled.tolist() == [1.0, 1.0]
    scaled.sum().backward()
    torch.testing.assert_close(values.grad, torch.full((2,), 1 / 3))

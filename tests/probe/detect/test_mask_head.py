"""Masks of boxes: there and back, and the loss of a box's own class alone."""

from __future__ import annotations

import torch

from regiontok.core.masks import PixelMasks
from regiontok.probe.detect.mask_head import MaskHead, mask_loss, on_picture, true_masks_of


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).sqrt() <= radius


def test_a_mask_that_is_cut_to_its_box_and_laid_back_is_the_same():
    discs = torch.stack([disc((80, 120), (40, 50), 30), disc((80, 120), (30, 90), 12)])
    masks = PixelMasks.from_dense(discs)
    boxes = torch.from_numpy(masks.boxes).float()
    cut = true_masks_of(masks, [1, 0], boxes[[1, 0]], 28)
    back = on_picture(cut, boxes[[1, 0]], (80, 120))[[1, 0]]
    overlap = (back & discs).sum((1, 2)) / (back | discs).sum((1, 2))
    assert overlap.min() > 0.95


def test_nothing_lies_outside_the_box():
    full = torch.ones(1, 28, 28)
    found = on_picture(full, torch.tensor([[2.0, 3.0, 5.0, 7.0]]), (9, 8))
    assert found.nonzero().aminmax(dim=0).min.tolist() == [0, 3, 2]
    assert int(found.sum()) == 12
    assert on_picture(full[:0], torch.zeros(0, 4), (9, 8)).shape == (0, 9, 8)


def test_only_the_mask_of_the_own_class_learns():
    logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.tensor([3, 1]), [torch.ones(1, 4, 4), torch.zeros(1, 4, 4)])
    loss.backward()
    moved = logits.grad.abs().sum((2, 3)) > 0
    assert moved.tolist() == [[False, False, True], [True, False, False]]
    assert mask_loss(logits[:0], torch.zeros(0, dtype=torch.long), []).item() == 0


def test_a_mask_has_twice_the_cells_of_what_is_pooled():
    assert MaskHead(4, 2, 3)(torch.rand(5, 4, 14, 14)).shape == (5, 3, 28, 28)

"""Anchors lie around the middle of their cells, at strides that need not be whole."""

from __future__ import annotations

import torch

from regiontok.probe.detect.proposals import (
    RATIOS,
    ProposalSizes,
    anchors_of,
    proposal_network,
    propose,
)


def test_anchors_have_eight_cells_around_the_middle_of_their_own():
    anchors = anchors_of((3, 4), (3.5, 3.5)).reshape(3, 4, len(RATIOS), 4)
    middle = (anchors[..., :2] + anchors[..., 2:]) / 2
    assert middle[2, 1].tolist() == [[5.25, 8.75]] * 3
    sides = anchors[0, 0, :, 2:] - anchors[0, 0, :, :2]
    torch.testing.assert_close(sides.prod(1), torch.full((3,), 28.0**2))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor(RATIOS))


def test_proposals_stay_on_the_canvas_and_pictures_without_objects_have_a_loss():
    torch.manual_seed(0)
    strides = [(7.0, 7.0), (14.0, 14.0)]
    network = proposal_network(4, strides, ProposalSizes(32, (20, 20), (6, 5)))
    levels = [torch.rand(2, 4, 6, 8), torch.rand(2, 4, 3, 4)]
    truth = [torch.tensor([[3.0, 4.0, 40.0, 30.0]]), torch.zeros(0, 4)]
    proposals, losses = propose(network, levels, (42.0, 56.0), truth)
    assert set(losses) == {"objectness", "anchor_box"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert len(proposals[0]) == 6
    network.eval()
    proposals, losses = propose(network, levels, (42.0, 56.0), None)
    assert losses == {}
    assert len(proposals[1]) == 5
    flat = torch.cat(proposals)
    assert flat.min() >= 0
    assert flat[:, 2].max() <= 56
    assert flat[:, 3].max() <= 42

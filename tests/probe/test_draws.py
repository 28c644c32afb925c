"""Draws that depend on a seed and on numbers alone."""

from __future__ import annotations

import torch

from regiontok.probe.draws import samples_of, torch_seeded


def test_every_epoch_takes_all_samples_once_in_another_order():
    drawn = [sample for draw in range(10) for sample in samples_of(draw, 3, 10, seed=4)]
    epochs = [drawn[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert samples_of(7, 3, 10, seed=4) == drawn[21:24]
    assert samples_of(7, 3, 10, seed=5) != drawn[21:24]


def test_a_batch_may_be_larger_than_the_data():
    assert sorted(samples_of(0, 6, 2, seed=0)) == [0, 0, 0, 1, 1, 1]


def test_torch_draws_follow_from_the_numbers_and_leave_the_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch_seeded(0, 5):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with torch_seeded(0, 5):
        assert torch.equal(torch.rand(2), first)
    with torch_seeded(0, 6):
        assert not torch.equal(torch.rand(2), first)

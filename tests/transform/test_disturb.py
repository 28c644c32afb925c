"""Damage by hand: means, noise of a known size, and artifacts of a known norm."""

from __future__ import annotations

import pytest
import torch

from regiontok.transform.disturb import Disturb
from samples.grids import grid_of

FEATURES = torch.randn(12, 12, 8, generator=torch.Generator().manual_seed(3)) + 2


def test_smoothing_takes_means_of_what_is_there():
    corner = Disturb(smooth=1).one(grid_of(FEATURES)).features[0, 0]
    assert torch.allclose(corner, FEATURES[:2, :2].flatten(0, 1).mean(0), atol=1e-5)


def test_noise_has_the_size_that_is_asked_for_and_differs_between_pictures():
    added = Disturb(noise=0.5).one(grid_of(FEATURES)).features - FEATURES
    spread = FEATURES.flatten(0, 1).std(0)
    assert torch.allclose((added.flatten(0, 1) / spread).std(), torch.tensor(0.5), atol=0.03)
    other = (
        Disturb(noise=0.5).one(grid_of(FEATURES.flip(0) * 1.01)).features - FEATURES.flip(0) * 1.01
    )
    assert not torch.allclose(added, other, atol=0.1)


def test_artifacts_are_alike_and_long():
    grid = Disturb(artifacts=0.1).one(grid_of(FEATURES))
    norms = grid.features.flatten(0, 1).norm(dim=1)
    long = norms > 2.5 * FEATURES.flatten(0, 1).norm(dim=1).mean()
    assert int(long.sum()) == round(0.1 * 144)
    rows = torch.nn.functional.normalize(grid.features.flatten(0, 1)[long], dim=1)
    assert float((rows @ rows.T).min()) > 0.95
    assert torch.equal(grid.pooled, FEATURES)


@pytest.mark.parametrize("options", [{}, {"noise": -1.0}, {"artifacts": 1.0}])
def test_options_that_disturb_nothing_or_cannot_be_are_errors(options):
    with pytest.raises(ValueError, match=r"disturbed|share"):
        Disturb(**options)

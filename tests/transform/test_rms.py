"""RMS normalisation of features: against torch's own, and what it does to a region's mean."""

from __future__ import annotations

import pytest
import torch

from regiontok.transform.rms import Rms
from samples.grids import grid_of


def test_by_hand():
    features = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [-1.0, 1.0]]])
    root = 12.5**0.5
    expected = torch.tensor([[[3 / root, 4 / root], [0.0, 0.0], [-1.0, 1.0]]])
    torch.testing.assert_close(Rms().one(grid_of(features)).features, expected)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_equals_torchs(eps):
    features = torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        Rms(eps).one(grid_of(features)).features,
        torch.nn.functional.rms_norm(features, (16,), eps=eps),
    )


def test_a_patch_of_high_norm_no_longer_rules_the_mean():
    features = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 100.0]]])
    before, after = features.mean((0, 1)), Rms().one(grid_of(features)).features.mean((0, 1))
    assert before[1] > 10 * before[0]
    assert float(after[0] / after[1]) == pytest.approx(2, rel=1e-5)


def test_large_half_precision_features_do_not_overflow():
    features = torch.full((2, 2, 4), 6e4, dtype=torch.float16)
    assert bool((Rms().one(grid_of(features)).features == 1).all())


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
def test_eps_must_be_positive(eps):
    with pytest.raises(
        ValueError, match="eps must be positive, or a patch of zeros has no quotient; got"
    ):
        Rms(eps)

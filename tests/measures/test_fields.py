"""Feature fields of known kind: every number of the diagnosis ranks them as it must."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.measures.locality import far_change, position_readout
from regiontok.measures.norms import norm_map, norm_metrics, outlier_positions
from regiontok.measures.smoothness import cosine_by_distance, smoothness_metrics

H, W, D, IMAGES, SPIKES = 14, 18, 24, 12, 6


def noise(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


def smooth(rng):
    """Content that changes slowly, around a mean that all patches share."""
    coarse = noise(rng, 1, D, 4, 4)
    return torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic")[0].movedim(0, -1) + 0.5


def noisy(rng):
    """Every patch drawn by itself, around the same mean."""
    return noise(rng, H, W, D) + 0.5


def spiked(rng, where):
    """Smooth, but for some patches of one direction and a large norm."""
    features = smooth(rng)
    features.view(-1, D)[where] = 6 * D**0.5 * torch.eye(D, dtype=torch.float64)[0]
    return features


def registers(rng):
    return spiked(rng, rng.choice(H * W, SPIKES, replace=False))


def artifacts(rng):
    return spiked(rng, np.arange(SPIKES) * 37)


@pytest.fixture(scope="module")
def fields():
    makers = {"smooth": smooth, "noisy": noisy, "registers": registers, "artifacts": artifacts}
    return {
        name: [make(np.random.default_rng(seed)) for seed in range(IMAGES)]
        for name, make in makers.items()
    }


@pytest.fixture(scope="module")
def norms(fields):
    return {
        name: norm_metrics(torch.stack([norm_map(features) for features in images]))
        for name, images in fields.items()
    }


@pytest.fixture(scope="module")
def smoothness(fields):
    metrics = {
        name: [smoothness_metrics(features) for features in images]
        for name, images in fields.items()
    }
    return {
        name: {key: float(np.mean([features[key] for features in all_])) for key in all_[0]}
        for name, all_ in metrics.items()
    }


def test_outliers_are_found_where_they_are_and_only_there(norms):
    assert norms["smooth"]["outlier_share"] == norms["noisy"]["outlier_share"] == 0
    for name in ("registers", "artifacts"):
        assert norms[name]["outlier_share"] == pytest.approx(SPIKES / (H * W))
        assert norms[name]["outlier_peak"] > 2 * norms["smooth"]["outlier_peak"]
        assert norms[name]["norm_kurtosis"] > 5 > norms["noisy"]["norm_kurtosis"]


def test_registers_move_with_content_and_position_artifacts_do_not(norms, fields):
    assert norms["artifacts"]["outlier_fixed"] == 1
    assert abs(norms["registers"]["outlier_fixed"]) < 0.1
    assert np.isnan(norms["smooth"]["outlier_fixed"])
    where = outlier_positions(torch.stack([norm_map(features) for features in fields["artifacts"]]))
    assert where.flatten().nonzero().flatten().tolist() == [0, 37, 74, 111, 148, 185]
    assert where.max() == 1


@pytest.mark.parametrize(
    ("name", "up"),
    [("neighbour_cosine", True), ("neighbour_gain", True), ("total_variation", False)],
)
def test_smooth_before_spiked_before_noisy(smoothness, name, up):
    best_first = ["smooth", "registers", "noisy"]
    values = [smoothness[field][name] for field in best_first]
    assert values == sorted(values, reverse=up)
    assert abs(values[0] - values[2]) > 0.3
    assert abs(values[0] - values[1]) > 0.02


def test_a_common_mean_raises_cosines_but_not_the_gain(smoothness):
    assert smoothness["noisy"]["neighbour_cosine"] > 0.15
    assert abs(smoothness["noisy"]["neighbour_gain"]) < 0.01


def test_similarity_decays_in_smooth_fields_only(fields):
    decay = {
        name: np.mean(
            [cosine_by_distance(features, [1, 2, 4, 8]) for features in fields[name]], axis=0
        )
        for name in fields
    }
    assert (np.diff(decay["smooth"]) < -0.05).all()
    assert np.ptp(decay["noisy"]) < 0.01


def test_position_is_read_where_it_is(fields):
    """Content alone tells nothing about position on unseen images; a positional signal does."""
    place = (
        torch.cartesian_prod(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W))
        .view(H, W, 2)
        .double()
    )
    positioned = [
        features + torch.cat([3 * place, torch.zeros(H, W, D - 2)], -1)
        for features in fields["noisy"]
    ]
    present, absent = position_readout(positioned), position_readout(fields["noisy"])
    assert min(present.values()) > 0.7
    assert -0.1 < absent["position_r2_y"] < 0.02
    assert -0.1 < absent["position_r2_x"] < 0.02


@pytest.mark.parametrize(
    ("mixed", "smallest", "largest"), [(0.0, 0.0, 0.0), (0.2, 1e-6, 0.05), (1.0, 0.05, 1.0)]
)
def test_leak_grows_with_what_an_encoder_mixes(mixed, smallest, largest):
    """The encoder adds `mixed` times the image's mean to every patch.

    A corner of the image is changed.
    """
    image = noisy(np.random.default_rng(0))
    touched = torch.zeros(H, W, dtype=torch.bool)
    touched[:7, :7] = True
    other = torch.where(touched[..., None], noisy(np.random.default_rng(1)), image)
    original, changed = (
        features + mixed * H * features.mean((0, 1)) for features in (image, other)
    )
    assert smallest <= far_change(original, changed, touched)["leak"] <= largest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_tells_the_same(fields, dtype):
    for images in fields.values():
        coarse = [features.to(dtype) for features in images]
        pairs = [
            (
                norm_metrics(torch.stack([norm_map(features) for features in side])),
                smoothness_metrics(side[0]),
                position_readout(side),
            )
            for side in (images, coarse)
        ]
        for exact, rounded in zip(*pairs, strict=True):
            assert rounded == pytest.approx(exact, rel=0.02, abs=0.005, nan_ok=True)

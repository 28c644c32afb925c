"""Norm metrics on maps small enough to check by eye."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from regiontok.measures.norms import norm_map, norm_metrics, outlier_positions, outliers

KEYS = {
    "norm_median",
    "norm_spread",
    "norm_kurtosis",
    "outlier_share",
    "outlier_peak",
    "outlier_fixed",
    "outlier_border",
}


def maps_with(*places, grid=(4, 5), level=10.0):
    """One map an image: norms 1 to 1.19, and `level` at the given flat positions."""
    h, w = grid
    maps = (1 + torch.arange(h * w).double() / 100).repeat(len(places), 1)
    for norms, where in zip(maps, places, strict=True):
        norms[list(where)] = level
    return maps.view(len(places), h, w)


def test_norm_map_by_hand():
    features = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[-5.0, 12.0], [1.0, 0.0]]])
    assert norm_map(features).tolist() == [[5.0, 0.0], [13.0, 1.0]]


def test_quartiles_and_peak_by_hand():
    metrics = norm_metrics(torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]]))
    assert metrics.keys() == KEYS
    assert metrics["norm_median"] == 3
    assert metrics["norm_spread"] == pytest.approx((4 - 2) / 3)
    assert metrics["outlier_peak"] == pytest.approx(5 / 3)
    assert metrics["norm_kurtosis"] == pytest.approx(-1.3)
    assert metrics["outlier_share"] == 0


def test_kurtosis_is_scipys_image_by_image():
    maps = torch.from_numpy(np.random.default_rng(0).gamma(3, size=(4, 6, 7)))
    expected = stats.kurtosis(maps.flatten(1).numpy(), axis=1).mean()
    assert norm_metrics(maps)["norm_kurtosis"] == pytest.approx(expected)


@pytest.mark.parametrize("n", [9, 100, 576])
def test_one_outlier_among_equal_norms_has_a_kurtosis_of_about_n(n):
    maps = torch.ones(1, 1, n)
    maps[0, 0, 3] = 7
    assert norm_metrics(maps)["norm_kurtosis"] == pytest.approx(n - 5 + 1 / (n - 1))


def test_the_cut():
    """Deviations of the median 3 are 2, 1, 0, 1, ... so the MAD is 1.

    The cut lies at 3 + 6 x 1.4826 = 11.896.
    """
    base = [1.0, 2.0, 3.0, 3.0, 3.0, 4.0]
    below, above = (torch.tensor([[[*base, last]]]) for last in (11.89, 11.91))
    assert not outliers(below).any()
    assert outliers(above).flatten().tolist() == [False] * 6 + [True]


def test_equal_norms_need_half_as_much_again():
    """A MAD of zero would make every rounding an outlier."""
    maps = torch.tensor([[[2.0, 2.0, 2.0, 2.0, 2.99]], [[2.0, 2.0, 2.0, 2.0, 3.01]]])
    assert outliers(maps).flatten(1).sum(1).tolist() == [0, 1]


def test_same_positions_are_fixed():
    metrics = norm_metrics(maps_with([0, 7], [0, 7], [0, 7]))
    assert metrics["outlier_fixed"] == 1
    assert metrics["outlier_share"] == pytest.approx(0.1)


def test_a_smaller_set_inside_a_larger_is_fixed():
    assert norm_metrics(maps_with([3, 7], [3], []))["outlier_fixed"] == pytest.approx(1)


def test_fixed_by_hand():
    """20 patches, sets of 2 with one in common: (1 - 4/20) / (2 - 4/20)."""
    assert norm_metrics(maps_with([3, 7], [3, 8]))["outlier_fixed"] == pytest.approx(0.8 / 1.8)


def test_fixed_is_the_sum_over_pairs():
    outlying = outliers(maps_with([3, 7], [3, 8, 9], [1], [3, 1])).flatten(1)
    top = bottom = 0.0
    for i in range(4):
        for j in range(i):
            chance = float(outlying[i].sum() * outlying[j].sum()) / 20
            top += float((outlying[i] & outlying[j]).sum()) - chance
            bottom += min(int(outlying[i].sum()), int(outlying[j].sum())) - chance
    assert norm_metrics(maps_with([3, 7], [3, 8, 9], [1], [3, 1]))[
        "outlier_fixed"
    ] == pytest.approx(top / bottom)


def test_outliers_at_random_places_are_not_fixed():
    """Corrected for chance: the mean over many draws is zero, whatever the share of outliers."""
    for count in (1, 8):
        draws = [np.random.default_rng(seed) for seed in range(200)]
        values = [
            norm_metrics(maps_with(*(rng.choice(20, count, replace=False) for _ in range(4))))[
                "outlier_fixed"
            ]
            for rng in draws
        ]
        assert abs(np.mean(values)) < 3 * np.std(values) / 200**0.5


def test_fixed_needs_two_images_with_outliers():
    assert np.isnan(norm_metrics(maps_with([3]))["outlier_fixed"])
    assert np.isnan(norm_metrics(maps_with([3], [], []))["outlier_fixed"])


def test_border_and_positions():
    maps = maps_with([0, 6, 7], [0, 19])  # of 4 x 5; 6 and 7 lie inside
    assert norm_metrics(maps)["outlier_border"] == pytest.approx(3 / 5)
    where = outlier_positions(maps)
    assert where[0, 0] == 1
    assert where[1, 1] == where[1, 2] == where[3, 4] == 0.5
    assert where.sum() == 2.5


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_scale_changes_the_median_only(scale, seed):
    maps = torch.from_numpy(np.random.default_rng(seed).lognormal(sigma=1.0, size=(3, 5, 4)))
    plain, scaled = norm_metrics(maps), norm_metrics(scale * maps)
    assert scaled.pop("norm_median") == pytest.approx(scale * plain.pop("norm_median"))
    assert scaled == pytest.approx(plain, nan_ok=True)


def test_images_count_the_same_so_calls_can_be_joined():
    maps = torch.from_numpy(np.random.default_rng(0).lognormal(sigma=1.5, size=(6, 5, 4)))
    whole, parts = norm_metrics(maps), [norm_metrics(maps[:2]), norm_metrics(maps[2:])]
    for name in ("norm_median", "norm_spread", "norm_kurtosis", "outlier_share", "outlier_peak"):
        assert whole[name] == pytest.approx((2 * parts[0][name] + 4 * parts[1][name]) / 6)


def test_one_patch_and_no_norm():
    metrics = norm_metrics(torch.ones(3, 1, 1))
    assert (metrics["norm_spread"], metrics["outlier_share"], metrics["outlier_peak"]) == (0, 0, 1)
    assert np.isnan(
        [metrics["norm_kurtosis"], metrics["outlier_fixed"], metrics["outlier_border"]]
    ).all()
    empty = norm_metrics(torch.zeros(2, 3, 3))
    assert empty["norm_median"] == empty["outlier_share"] == 0
    assert np.isnan([empty["norm_spread"], empty["outlier_peak"], empty["norm_kurtosis"]]).all()


def test_rounding_of_equal_norms_has_no_kurtosis():
    features = torch.nn.functional.rms_norm(
        torch.randn(8, 8, 64, generator=torch.Generator().manual_seed(0)), (64,)
    ).bfloat16()
    assert np.isnan(norm_metrics(norm_map(features)[None])["norm_kurtosis"])


@pytest.mark.parametrize("maps", [torch.ones(3, 4), torch.ones(0, 3, 4), torch.ones(2, 0, 4)])
def test_wrong_shapes(maps):
    with pytest.raises(
        ValueError, match=r"expected norm maps \[b h w\] of one grid, without an empty axis; got"
    ):
        norm_metrics(maps)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_what_is_no_norm(bad):
    maps = torch.ones(2, 3, 3)
    maps[1, 1, 1] = bad
    with pytest.raises(
        ValueError, match="must be finite and not negative; norm_map makes them from features"
    ):
        norm_metrics(maps)


def test_features_that_are_none():
    with pytest.raises(ValueError, match="NaN or infinite at 1 of 6 patches"):
        norm_map(
            torch.ones(2, 3, 4).index_put(
                (torch.tensor(1), torch.tensor(2)), torch.tensor(float("nan"))
            )
        )
    with pytest.raises(
        ValueError,
        match=r"expected the features of one view, \[h w d\] without an empty axis; got \[2, 3\]",
    ):
        norm_map(torch.ones(2, 3))

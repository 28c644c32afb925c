"""Variance explained, on features whose share is known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.regions import Members, Regions
from regiontok.measures.reconstruction import variance_explained
from regiontok.pool.mean import segment_mean

# mean (3, 1), spread 9 + 1 + 1 + 9 = 20
ROW = torch.tensor([[[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 1.0]]])


def share(labels, features=ROW, **options):
    regions = Regions.from_labels(torch.tensor(labels))
    tokens = segment_mean(features.flatten(0, -2), Members.of([regions]))
    return variance_explained(features, tokens, regions, **options)


def test_by_hand():
    assert share([[0, 1, 2, 3]]) == 1
    assert share([[0, 0, 0, 0]]) == 0
    assert share([[0, 0, 1, 1]]) == pytest.approx(1 - 4 / 20)
    assert share([[0, 1, 1, 1]]) == pytest.approx(1 - 8 / 20)
    assert share([[0, 1, 1, 0]]) == pytest.approx(1 - 20 / 20)


def test_a_selection_grown_to_the_nearest_kept_patch():
    regions = Regions.from_labels(torch.tensor([[0, 0, 1, 1]]))
    selected = ROW[0, [0, 3]]
    assert variance_explained(ROW, selected, regions) == pytest.approx(1 - 8 / 20)


def test_tokens_worse_than_the_mean_score_below_zero():
    regions = Regions.from_labels(torch.tensor([[0, 0, 0, 0]]))
    assert variance_explained(ROW, torch.tensor([[10.0, 1.0]]), regions) == pytest.approx(
        1 - (20 + 4 * 49) / 20
    )


def test_a_patch_in_two_regions_is_the_mean_of_their_tokens():
    regions = Regions.from_masks(torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 1]]]))
    tokens = torch.tensor([[0.0, 1.0], [4.0, 1.0]])
    assert variance_explained(ROW, tokens, regions) == pytest.approx(1 - (0 + 0 + 0 + 4) / 20)


def test_padding_does_not_count():
    valid = torch.tensor([[True, True, True, False]])  # mean 2, spread 8
    assert share([[0, 0, 1, -1]], valid=valid) == pytest.approx(1 - 2 / 8)


def test_a_uniform_view():
    flat = torch.ones(1, 4, 2)
    """There is no variance to explain, whatever stands for its patches."""
    assert math.isnan(share([[0, 0, 0, 0]], flat))
    regions = Regions.from_labels(torch.zeros(1, 4, dtype=torch.int64))
    assert math.isnan(variance_explained(flat, torch.zeros(1, 2), regions))
    rounded = flat + 1e-7 * torch.arange(4.0)[None, :, None]
    assert math.isnan(variance_explained(rounded, torch.zeros(1, 2), regions))
    assert math.isnan(variance_explained(torch.zeros(1, 4, 2), torch.zeros(1, 2), regions))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_means_are_the_best_tokens_of_a_partition_and_finer_is_no_worse(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    fine = torch.randint(0, 6, (4, 5), generator=generator)
    regions = Regions.from_labels(fine)
    tokens = segment_mean(features.flatten(0, -2), Members.of([regions]))
    best = variance_explained(features, tokens, regions)
    assert best >= variance_explained(
        features, tokens + 0.1 * torch.randn(tokens.shape, generator=generator), regions
    )
    assert best >= share((fine // 2).tolist(), features) - 1e-12


def test_bfloat16_features_are_summed_in_float64():
    assert share([[0, 0, 1, 1]], ROW.bfloat16()) == pytest.approx(0.8)


def test_what_cannot_be():
    with pytest.raises(
        ValueError,
        match=r"no token stands for 2 patches; grow the regions first, say with cover\('nearest'\)",
    ):
        share([[0, -1, 1, -1]])
    regions = Regions.from_labels(torch.tensor([[0, 0, 1, 1]]))
    with pytest.raises(
        ValueError,
        match=r"expected features \[\*\[1, 4\] d\] and tokens \[2 d\], got \[1, 4, 2\] and \[3, "
        r"2\]",
    ):
        variance_explained(ROW, torch.zeros(3, 2), regions)

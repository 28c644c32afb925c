"""Distances between tokens, by eye and against the plain matrix."""

from __future__ import annotations

import pytest
import torch

from regiontok.measures import token_distances
from regiontok.measures.token_distances import distance_histogram, pair_distances


def test_a_histogram_counts_all_ordered_pairs_of_different_tokens(monkeypatch):
    monkeypatch.setattr(token_distances, "_ROWS", 4)  # three blocks
    tokens = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    plain = pair_distances(tokens)
    unscaled = distance_histogram(tokens, bins=20)
    assert unscaled.counts.sum() == 90
    assert unscaled.mean == pytest.approx(float(plain.mean()), abs=1e-6)
    assert unscaled.counts.tolist() == [2 * int(n) for n in torch.histc(plain, 20, 0, 2)]
    scaled = distance_histogram(tokens, scaled=True)
    assert (scaled.low, scaled.high) == pytest.approx((float(plain.min()), float(plain.max())))
    assert len(scaled.counts) == 1000
    assert scaled.counts[0] >= 1
    assert scaled.counts[-1] >= 1


def test_tokens_that_are_all_alike_lie_in_the_first_bin():
    histogram = distance_histogram(torch.ones(3, 4), bins=5, scaled=True)
    assert histogram.counts.tolist() == [6, 0, 0, 0, 0]


def test_too_few_tokens_and_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="at least two tokens"):
        distance_histogram(torch.ones(1, 4))
    with pytest.raises(ValueError, match="finite"):
        distance_histogram(torch.tensor([[1.0], [torch.nan]]))

"""Smoothness metrics on grids whose cosines are 0, 1 or -1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from regiontok.measures.smoothness import cosine_by_distance, smoothness_metrics

AXES = torch.eye(3, dtype=torch.float64)
KEYS = {
    "neighbour_cosine",
    "far_cosine",
    "neighbour_gain",
    "total_variation",
    "inside_cosine",
    "across_cosine",
    "border_contrast",
    "border_auc",
}


def field(*rows):
    """A grid drawn with letters.

    a, b and c are axes, A, B and C their negatives of another length, 0 is a patch of zeros.
    """
    known = {
        **dict(zip("abc", AXES, strict=True)),
        **dict(zip("ABC", -5 * AXES, strict=True)),
        "0": torch.zeros(3),
    }
    return torch.stack([torch.stack([known[letter].double() for letter in row]) for row in rows])


def drawn(h=5, w=6, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(h, w, d)))


def test_by_hand():
    """aab / aab: 7 edges, of which 2 are a-b; 15 pairs: a-a 6, b-b 1, a-b 8."""
    metrics = smoothness_metrics(field("aab", "aab"))
    assert metrics.keys() == KEYS
    assert metrics["neighbour_cosine"] == pytest.approx(5 / 7)
    assert metrics["far_cosine"] == pytest.approx(7 / 15)
    assert metrics["neighbour_gain"] == pytest.approx(5 / 7 - 7 / 15)
    assert metrics["total_variation"] == pytest.approx(2 * math.sqrt(2) / 7)
    assert all(
        math.isnan(metrics[name])
        for name in ("inside_cosine", "across_cosine", "border_contrast", "border_auc")
    )


def test_borders_by_hand():
    """The border between the columns 1 and 2; inside the right region one patch differs."""
    metrics = smoothness_metrics(field("aab", "aac"), torch.tensor([[0, 0, 1], [0, 0, 1]]))
    assert metrics["inside_cosine"] == pytest.approx(4 / 5)
    assert metrics["across_cosine"] == 0
    assert metrics["border_contrast"] == pytest.approx(4 / 5)
    assert metrics["border_auc"] == pytest.approx((4 + 0.5) / 5)


def test_opposite_and_zero_patches():
    assert smoothness_metrics(field("aA"))["neighbour_cosine"] == -1
    assert smoothness_metrics(field("aA"))["total_variation"] == pytest.approx(2)
    assert smoothness_metrics(field("00"))["neighbour_cosine"] == 1
    assert smoothness_metrics(field("a0"))["neighbour_cosine"] == 0


def test_edges_of_a_negative_label_count_on_neither_side():
    features = field("abac")
    with_rest = smoothness_metrics(features, torch.tensor([[0, 0, 0, -1]]))
    assert with_rest["inside_cosine"] == 0
    assert math.isnan(with_rest["across_cosine"])
    assert math.isnan(with_rest["border_auc"])


def test_auc_is_scikit_learns():
    features, labels = (
        drawn(12, 13),
        torch.from_numpy(np.random.default_rng(1).integers(0, 2, (12, 13))),
    )
    unit = torch.nn.functional.normalize(features, dim=-1)
    cosine = torch.cat(
        [(unit[:, 1:] * unit[:, :-1]).sum(-1).flatten(), (unit[1:] * unit[:-1]).sum(-1).flatten()]
    )
    equal = torch.cat(
        [(labels[:, 1:] == labels[:, :-1]).flatten(), (labels[1:] == labels[:-1]).flatten()]
    )
    assert smoothness_metrics(features, labels)["border_auc"] == pytest.approx(
        roc_auc_score(equal, cosine), abs=1e-6
    )


def test_far_and_distances_are_all_pairs():
    features = drawn()
    unit = torch.nn.functional.normalize(features, dim=-1).flatten(0, 1)
    place = torch.cartesian_prod(torch.arange(5), torch.arange(6))
    apart = (place[:, None] - place).abs().amax(-1)
    gram = unit @ unit.T
    expected = [float(gram[apart == r].mean()) for r in range(6)]
    assert cosine_by_distance(features, range(6)) == pytest.approx(expected)
    assert smoothness_metrics(features)["far_cosine"] == pytest.approx(
        float(gram[apart > 0].mean())
    )


def test_scale_of_a_patch_changes_nothing():
    features, labels = drawn(), torch.arange(6).repeat(5, 1) // 2
    longer = features * torch.from_numpy(np.random.default_rng(2).uniform(0.1, 9, (5, 6, 1)))
    assert smoothness_metrics(longer, labels) == pytest.approx(smoothness_metrics(features, labels))


def test_constant_features():
    features = torch.full((3, 4, 7), 0.1)
    metrics = smoothness_metrics(features, torch.arange(4).repeat(3, 1) // 2)
    assert metrics["neighbour_cosine"] == pytest.approx(1)
    assert metrics["far_cosine"] == pytest.approx(1)
    assert metrics["neighbour_gain"] == pytest.approx(0)
    assert metrics["total_variation"] == pytest.approx(0, abs=1e-7)
    assert metrics["border_auc"] == 0.5


def test_one_patch_has_no_neighbours():
    metrics = smoothness_metrics(torch.ones(1, 1, 3), torch.zeros(1, 1, dtype=torch.long))
    assert all(math.isnan(value) for value in metrics.values())
    assert cosine_by_distance(torch.ones(1, 1, 3), [0, 1]) == pytest.approx(
        [1, math.nan], nan_ok=True
    )


def test_tiny_and_huge_features_neither_vanish_nor_overflow():
    for level in (1e-200, 1e200):
        assert smoothness_metrics(level * field("ab", "ab"))["neighbour_cosine"] == pytest.approx(
            0.5
        )


@pytest.mark.parametrize("labels", [torch.zeros(3, 5, dtype=torch.long), torch.zeros(5, 6)])
def test_labels_that_do_not_fit(labels):
    with pytest.raises(ValueError, match=r"expected whole-number labels \[5, 6\], got torch"):
        smoothness_metrics(drawn(), labels)


@pytest.mark.parametrize("distance", [-1, 0.5])
def test_distances_are_whole_patches(distance):
    with pytest.raises(ValueError, match="distances are whole patches, 0 or more; got"):
        cosine_by_distance(drawn(), [1, distance])


def test_nan_is_refused():
    features = drawn()
    features[2, 3, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite at 1 of 30 patches"):
        smoothness_metrics(features)
    with pytest.raises(ValueError, match="NaN or infinite at 1 of 30 patches"):
        cosine_by_distance(features, [1])

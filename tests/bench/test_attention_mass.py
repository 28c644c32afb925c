"""The study of repeated rows: its formulas by hand, its sequences by eye, and the model itself."""

from __future__ import annotations

import math

import pytest
import torch

from regiontok.model.mini import mini_language_model
from samples import benches


@pytest.fixture(scope="module")
def mass():
    return benches.load("attention_mass")


@pytest.mark.parametrize(
    ("mass_of_one", "copies", "expected"),
    [(0.5, 1, 0.5), (0.5, 3, 0.75), (0.2, 4, 0.5), (0.01, 99, 0.5)],
)
def test_m_equal_keys_by_hand(mass, mass_of_one, copies, expected):
    assert mass.predicted(mass_of_one, copies) == pytest.approx(expected)


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_the_prediction_is_softmax_with_the_key_repeated(mass, copies):
    scores = torch.tensor([1.3, -0.4, 0.2, 2.0], dtype=torch.float64)
    first = scores.softmax(0)[0]
    repeated = torch.cat([scores[:1].repeat(copies), scores[1:]]).softmax(0)
    assert float(repeated[:copies].sum()) == pytest.approx(mass.predicted(float(first), copies))
    group = torch.arange(copies + 3) < copies
    offset = mass.log_odds(repeated, group) - mass.log_odds(scores.softmax(0), torch.arange(4) < 1)
    assert float(offset) == pytest.approx(math.log(copies))


def test_sequences_by_eye(mass):
    visual = slice(mass.TEXT, -mass.TEXT)
    dense, shared, none = (mass.lay(4, 1, 3, place) for place in ("rope", "shared", "none"))
    assert dense.rows[visual].tolist() == [16, 17, 17, 18, 17, 19]
    assert dense.positions.tolist() == list(range(38))
    assert shared.positions[visual].tolist() == [16, 17, 17, 18, 17, 19]
    assert shared.positions[-1] == mass.lay(4, 1, 1, "rope").positions[-1]
    assert not none.positions.any()
    assert dense.copies.nonzero()[:, 0].tolist() == [17, 18, 20]


@pytest.fixture(scope="module")
def offsets(mass):
    """Offsets at 1, 2 and 8 copies by place.

    `[m layers heads]` as observed, and `[m heads]` by the formula.
    """
    model = mini_language_model(0, width=48, layers=2, heads=3).eval()
    table = torch.randn(20 + 2 * mass.TEXT, 48, generator=torch.Generator().manual_seed(0))
    mass.sharpen(model, 2.0, table)
    log_odds = {place: mass.measure(model, table, 7, place, (1, 2, 8)) for place in mass.PLACES}
    return {
        place: {key: value - value[:1] for key, value in values.items()}
        for place, values in log_odds.items()
    }


@pytest.mark.parametrize("place", ["none", "shared"])
def test_equal_keys_give_log_m_in_the_first_layer(offsets, place):
    expected = torch.tensor([1.0, 2, 8]).double().log()[:, None].expand(3, 3)
    assert torch.allclose(offsets[place]["observed"][:, 0], expected, atol=1e-5)
    # what goes into the second layer is no longer the same
    assert not torch.allclose(offsets[place]["observed"][:, 1], expected, atol=1e-4)


def test_rotated_copies_differ_and_follow_the_formula_of_the_paper(offsets):
    observed, formula = offsets["rope"]["observed"][:, 0], offsets["rope"]["formula"]
    assert torch.allclose(observed, formula, atol=1e-4)
    assert (observed[2] - math.log(8)).abs().max() > 0.1

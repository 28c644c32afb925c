"""Which classes are negatives: a hash of seed, step and class; the batch's own; both."""

from __future__ import annotations

import hashlib

import pytest
import torch

from regiontok.rice.negatives import Negatives, drawn

NONE = torch.empty(0, dtype=torch.long)


def test_the_hash_is_splitmix64():
    """Held against the algorithm in Python's own unbounded integers."""
    word = (1 << 64) - 1
    start = int.from_bytes(hashlib.blake2b(b"3 5 ocr", digest_size=8).digest(), "big")
    expected = []
    for c in range(1000):
        z = (start + c * 0x9E3779B97F4A7C15) & word
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
        expected.append(((z ^ (z >> 31)) >> 11) / (1 << 53) < 0.3)
    assert drawn(3, 5, torch.arange(1000), 0.3, "ocr").tolist() == expected


def test_the_draw_does_not_depend_on_the_shards():
    negatives = Negatives(rho=0.2, seed=4)
    whole = negatives.chosen(9, 0, 1003, NONE)
    parts = [
        negatives.chosen(9, start, stop, NONE)
        for start, stop in ((0, 335), (335, 670), (670, 1003))
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_rates_are_right_and_steps_seeds_and_heads_draw_apart():
    classes, rho = torch.arange(200_000), 0.1
    masks = [
        drawn(*key, classes, rho, name)
        for key, name in (((0, 0), ""), ((0, 1), ""), ((1, 0), ""), ((0, 0), "ocr"))
    ]
    for mask in masks:
        assert mask.double().mean().item() == pytest.approx(
            rho, abs=5 * (rho * (1 - rho) / 200_000) ** 0.5
        )
    for i, chosen_mask in enumerate(masks):
        for other in masks[:i]:
            # five deviations
            assert (chosen_mask & other).double().mean().item() == pytest.approx(rho**2, abs=0.0012)


def test_every_class_is_drawn_as_often():
    """Over 2,000 steps no class lies further from 200 draws than chance puts any of 500."""
    classes = torch.arange(500)
    counts = sum(drawn(0, step, classes, 0.1).long() for step in range(2000))
    assert (counts - 200).abs().max() < 5 * (2000 * 0.1 * 0.9) ** 0.5


def test_kinds_on_a_shard():
    labels = torch.tensor([12, 15, 12])
    uniform = Negatives("uniform", rho=0.3).chosen(0, 10, 20, labels)
    in_batch = Negatives("in_batch", rho=0.3).chosen(0, 10, 20, labels)
    assert in_batch.nonzero().flatten().tolist() == [2, 5]
    assert torch.equal(Negatives("both", rho=0.3).chosen(0, 10, 20, labels), uniform | in_batch)
    assert Negatives(rho=1.0).chosen(0, 10, 20, labels).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "hard"}, "unknown negatives 'hard'"),
        ({"rho": 0}, "rho is the share"),
        ({"rho": 1.5}, "rho is the share"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Negatives(**wrong)

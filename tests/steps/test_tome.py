"""ToMe: against the recorded results of its authors' code, and against its rule written out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.pool.mean import segment_mean
from regiontok.steps.tome import Tome, match
from samples.grids import grid_of


def merged(step, grid):
    return step.one(Regions.singletons(grid.grid), grid)


@pytest.fixture(scope="module")
def golden(data):
    return json.loads((data / "golden" / "tome.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("r", [1, 3, 6, 9])
def test_one_round_equals_the_recorded_results(golden, r):
    tokens = torch.tensor(golden["x"][0])
    (case,) = (case for case in golden["cases"] if case["r"] == r)
    place = match(tokens.double(), min(r, len(tokens) // 2))
    source = torch.tensor(case["source"][0]) > 0  # [tokens after, tokens before]
    assert torch.equal(torch.nn.functional.one_hot(place).T > 0, source)

    regions = merged(Tome(len(source)), grid_of(tokens[None]))
    assert {tuple(mask.flatten().tolist()) for mask in regions.masks} == {
        tuple(row.tolist()) for row in source
    }
    ours = segment_mean(tokens, Members.of([regions]))
    order = [regions.labels.flatten()[row].unique().item() for row in source]
    torch.testing.assert_close(ours[order], torch.tensor(case["merged_wavg"][0]))
    assert regions.sizes[order].tolist() == case["size"][0]


def written_out(features, k, r):
    """The rule as a text would say it, one token a list of patches."""
    tokens = [[i] for i in range(len(features))]
    while len(tokens) > k:
        values = [np.sum(features[token], axis=0) for token in tokens]
        values = [value / np.linalg.norm(value) for value in values]
        proposals = []
        for a in range(0, len(tokens), 2):
            scores = [round(float(values[a] @ values[b]) * 2**20) for b in range(1, len(tokens), 2)]
            proposals.append((max(scores), a, 2 * scores.index(max(scores)) + 1))
        proposals.sort(key=lambda proposal: (-proposal[0], proposal[1]))
        count = min(r or len(tokens) // 2, len(tokens) // 2, len(tokens) - k)
        joined = {b: list(tokens[b]) for b in range(1, len(tokens), 2)}
        for _, a, b in proposals[:count]:
            joined[b] += tokens[a]
        tokens = [tokens[a] for _, a, _ in proposals[count:]] + list(joined.values())
    return {frozenset(token) for token in tokens}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([None, 1, 2, 5]),
    st.integers(0, 10**6),
    st.data(),
)
def test_rounds_down_to_any_budget_follow_the_rule(h, w, r, seed, data):
    k = data.draw(st.integers(1, h * w))
    features = np.random.default_rng(seed).normal(size=(h * w, 3)).astype(np.float32)
    regions = merged(Tome(k, r), grid_of(torch.from_numpy(features).view(h, w, 3)))
    assert len(regions) == k
    assert regions.is_partition()
    tokens = {
        frozenset(patches.tolist()) for patches in regions.patch.split(regions.sizes.tolist())
    }
    assert tokens == written_out(features.astype(np.float64), k, r)


def test_equal_patches_merge_first_wherever_they_are():
    features = torch.eye(4)[torch.tensor([[0, 1, 2, 0], [3, 1, 3, 2]])]
    labels = merged(Tome(6), grid_of(features)).labels
    assert labels[0, 0] == labels[0, 3]  # 0 is in A, 3 in B: no neighbours, and one token
    assert len(merged(Tome(1), grid_of(features))) == 1


def test_patches_of_zeros_are_like_nothing():
    features = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0]]])
    assert merged(Tome(3), grid_of(features)).labels.tolist() == [[0, 1, 1, 2]]


def test_padding_stays_out():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    grid = PatchGrid(torch.randn(4, 4, 3, generator=torch.Generator().manual_seed(0)), frame)
    regions = Tome(3).one(Regions.singletons(grid.grid, grid.valid), grid)
    assert len(regions) == 3
    assert regions.is_partition(grid.valid)
    with pytest.raises(ValueError, match="cannot merge 8 patches into 9 tokens"):
        Tome(9).one(regions, grid)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="at least one token, got k=0"):
        Tome(0)
    with pytest.raises(ValueError, match="a round merges at least one token, got r=0"):
        Tome(4, 0)

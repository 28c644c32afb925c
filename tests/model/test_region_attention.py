"""What regions get of the attention rows of an answer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.tokens import CLS, DELIMITER, REGION, WHOLE, Tokens
from regiontok.model.region_attention import region_attention


def tokens_of(kind, region, view=None):
    kind, region = torch.tensor(kind), torch.tensor(region)
    none = torch.zeros_like(kind)
    return Tokens(
        torch.zeros(len(kind), 2),
        none,
        none if view is None else torch.tensor(view),
        region,
        none - 1,
        kind,
        images=1,
    )


def test_regions_whole_and_cls_are_counted_apart():
    tokens = tokens_of([CLS, WHOLE, REGION, REGION, REGION, DELIMITER], [-1, -1, 1, 0, 1, -1])
    rows = torch.tensor([0.05, 0.1, 0.2, 0.15, 0.25, 0.05]).view(1, 1, 1, 6)
    # the second head looks elsewhere
    shares = region_attention(torch.cat([rows, rows * 0], 1), tokens, 3)
    assert shares.regions.tolist() == pytest.approx([0.075, 0.225, 0])
    assert (shares.whole, shares.cls, shares.other, shares.text) == pytest.approx(
        (0.05, 0.025, 0.025, 0.6)
    )
    assert shares.shares.tolist() == pytest.approx([0.1875, 0.5625, 0])


def test_regions_of_another_view_are_other():
    rows = torch.tensor([0.25, 0.5]).view(1, 1, 1, 2)
    shares = region_attention(rows, tokens_of([REGION, REGION], [0, 0], [0, 1]), 1, view=1)
    assert (shares.regions.tolist(), shares.other) == ([0.5], 0.25)


def test_no_attention_to_the_picture_is_no_share():
    assert region_attention(
        torch.zeros(1, 1, 1, 1), tokens_of([REGION], [0]), 1
    ).shares.tolist() == [0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=20)
def test_shares_are_all_of_the_visual_attention(weights):
    rows = torch.tensor(weights, dtype=torch.float64).view(1, 1, 1, -1) / max(1, len(weights))
    tokens = tokens_of([REGION] * len(weights), list(range(len(weights))))
    shares = region_attention(rows, tokens, len(weights))
    assert shares.visual + shares.text == pytest.approx(1)
    assert float(shares.shares.sum()) == pytest.approx(1 if shares.visual else 0)


def test_columns_that_are_not_those_of_the_tokens():
    with pytest.raises(ValueError, match=r"expected rows \[layers heads r 1\]"):
        region_attention(torch.zeros(1, 1, 1, 2), tokens_of([REGION], [0]), 1)
    with pytest.raises(ValueError, match=r"expected rows \[layers heads r 1\]"):
        region_attention(torch.zeros(1, 1, 0, 1), tokens_of([REGION], [0]), 1)
    with pytest.raises(ValueError, match="of region 3, but the view has 2"):
        region_attention(torch.zeros(1, 1, 1, 1), tokens_of([REGION], [3]), 2)

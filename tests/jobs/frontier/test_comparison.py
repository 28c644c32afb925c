"""All sources on one picture: their points, and requests that cannot be met."""

from __future__ import annotations

import pytest

from regiontok.core.picture import Picture
from regiontok.jobs.frontier.comparison import SourceComparison
from regiontok.miniworld.scenes import make_scene

ENCODER = "filters(size=112, patch=14)"  # 8 x 8 patches


@pytest.fixture
def picture():
    return Picture.of(make_scene(0, (96, 128)).pixels, name="0.png")


def test_all_patches_explain_everything(picture):
    comparison = SourceComparison("filters(size=56, patch=14)", budgets=[16], only=["merge"])
    (point,) = comparison.measure(picture)
    assert (point.tokens, point.explained) == (16, 1)


def test_a_name_that_is_no_source_and_budgets_that_cannot_be_met(picture):
    with pytest.raises(
        ValueError, match=r"unknown source 'tome' \(did you mean 'ToMe'\?\); known: merge, "
    ):
        SourceComparison(ENCODER, only=["tome"])
    with pytest.raises(ValueError, match=r"budgets are numbers of tokens from 1 on, got \[0, 8\]"):
        SourceComparison(ENCODER, budgets=[8, 0])
    with pytest.raises(ValueError, match=r"budget 65 is above the 64 patches of 0\.png"):
        SourceComparison(ENCODER, budgets=[8, 65]).measure(picture)

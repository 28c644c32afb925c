"""Names of regions: dense logits averaged, then the best class."""

from __future__ import annotations

import math

import pytest
import torch

from regiontok.core.regions import Regions
from regiontok.measures.naming import name_regions, region_logits

CLASSES = ("cat", "dog", "sofa")
LOGITS = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 9.0, 0.0]], [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
LEFT = [[1, 0], [1, 0]]
ALL = [[1, 1], [1, 1]]


def test_names_by_hand():
    named = name_regions(LOGITS, Regions.from_masks(torch.tensor([LEFT, ALL])), CLASSES)
    assert [naming.name for naming in named] == ["cat", "dog"]
    # averaged: (3, 0, 0) on the left, (1.5, 2.25, 0) everywhere
    assert named[0].share == pytest.approx(math.exp(3) / (math.exp(3) + 2))


def test_logits_are_averaged_not_probabilities():
    mean = region_logits(LOGITS, Regions.from_masks(torch.tensor([LEFT, ALL])))
    assert mean.tolist() == [[3.0, 0.0, 0.0], [1.5, 2.25, 0.0]]


def test_no_region_has_no_name():
    assert name_regions(LOGITS, Regions.from_masks(torch.zeros(0, 2, 2)), CLASSES) == []


def test_half_precision_is_averaged_in_float32():
    logits = torch.full((1, 1025, 1), 1.0, dtype=torch.bfloat16)
    logits[0, 0] = 256
    assert float(
        region_logits(logits, Regions.from_masks(torch.ones(1, 1, 1025)))
    ) == pytest.approx(1280 / 1025)


def test_shapes_that_do_not_fit():
    regions = Regions.singletons((2, 2))
    with pytest.raises(
        ValueError, match=r"expected logits on the \(2, 2\) grid of the regions, got \[2, 3, 1\]"
    ):
        region_logits(torch.zeros(2, 3, 1), regions)
    with pytest.raises(
        ValueError, match=r"expected logits on the \(2, 2\) grid of the regions, got \[3, 2, 2\]"
    ):
        name_regions(torch.zeros(3, 2, 2), regions, CLASSES[:2])
    with pytest.raises(ValueError, match="3 logits a patch do not fit 2 classes"):
        name_regions(LOGITS, regions, CLASSES[:2])

"""What `check_pool` finds: pools that hold, and one for each thing that no pool may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Pool
from regiontok.pool.mean import Mean, segment_mean
from regiontok.pool.select import Select
from regiontok.testing import check_pool
from samples.methods import variant


@dataclass(frozen=True)
class Last(Pool):
    """The last patch of each region."""

    one_token: ClassVar[bool] = True

    def build(self, width):
        return LastPatch()


class LastPatch(nn.Module):
    def forward(self, values, members, kind=REGION):
        ends = members.sizes.cumsum(0) - 1
        return Tokens.of_regions(values[members.patch[ends]], members, kind)


def test_pools_that_hold():
    check_pool(Mean(), every_patch=True)
    check_pool(Last())


def test_a_pool_that_selects_hands_no_gradient_to_every_patch():
    with pytest.raises(AssertionError, match="every_patch is True, but a patch of a region has no"):
        check_pool(Last(), every_patch=True)


class Module(nn.Module):
    """The mean of each region, with one thing wrong."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, values, members, kind=REGION):
        means = segment_mean(values, members)
        if self.fault == "batch":
            means = means - means.mean(0) if len(means) else means
        if self.fault == "dtype":
            means = means.float()
        if self.fault == "kind":
            kind = REGION
        return Tokens.of_regions(means, members, kind)


@dataclass(frozen=True)
class Wrong(Pool):
    fault: str

    def build(self, width):
        return Module(self.fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("batch", "a batch of views: in a batch a view has other values than alone"),
        ("kind", "kind=WHOLE gives tokens of another kind"),
        ("dtype", r"values of every dtype: torch\.float32 is not near float64"),
    ],
)
def test_what_no_pool_may_do_is_named(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_pool(Wrong(fault))


def test_promises_that_are_not_true_are_named():
    single = variant(Select, "Single", one_token=True)
    with pytest.raises(AssertionError, match=r"one_token is True, but regions have \[\d+, "):
        check_pool(single)
    patches = variant(Mean, "Patches", keeps_patches=True)
    with pytest.raises(AssertionError, match="keeps_patches is True, but tokens are not the patch"):
        check_pool(patches)

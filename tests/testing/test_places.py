"""What `check_place` finds: places that hold, and things that no place may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from regiontok.methods import Place
from regiontok.place.delimiter import Delimiter
from regiontok.testing import check_place


def test_a_place_adds_delimiters_exactly_if_it_says_so():
    check_place(Delimiter())

    @dataclass(frozen=True)
    class Silent(Place):
        def build(self, width):
            return Delimiter().build(width)

    with pytest.raises(AssertionError, match=r"token is None, but there are \d+ delimiters"):
        check_place(Silent())

    @dataclass(frozen=True)
    class Idle(Place):
        token: ClassVar[str] = "<eom>"

        def build(self, width):
            return Unchanged()

    with pytest.raises(AssertionError, match="token is '<eom>', but there is no delimiter"):
        check_place(Idle())


class Unchanged(nn.Module):
    def forward(self, tokens, grids):
        return tokens


def test_a_place_must_not_reorder_rows():
    class Reversed(nn.Module):
        def forward(self, tokens, grids):
            return tokens.take(torch.arange(len(tokens)).flip(0))

    @dataclass(frozen=True)
    class Backwards(Place):
        def build(self, width):
            return Reversed()

    with pytest.raises(AssertionError, match=r"Backwards\(\), "):
        check_place(Backwards())

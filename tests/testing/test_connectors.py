"""What `check_connector` finds: connectors that hold, and things that none may do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import nn

from regiontok.connect.linear import Linear
from regiontok.methods import Connector
from regiontok.testing import check_connector


def test_a_connector_must_give_the_width_and_treat_tokens_apart():
    check_connector(Linear())

    @dataclass(frozen=True)
    class Narrow(Connector):
        def build(self, width, out):
            return nn.Linear(width, width)

    with pytest.raises(
        AssertionError, match=r"values \[.*, 8\] become \[.*, 8\] for a width of 12"
    ):
        check_connector(Narrow())

    class Centred(nn.Linear):
        def forward(self, values):
            return super().forward(values - values.mean(0) if len(values) else values)

    @dataclass(frozen=True)
    class Mixing(Connector):
        def build(self, width, out):
            return Centred(width, out)

    with pytest.raises(AssertionError, match="alone a token has other values than beside others"):
        check_connector(Mixing())

"""Connectors: shapes, LLaVA's key names, spec round trip."""

from __future__ import annotations

import pytest
import torch

from regiontok.settings import registry, spec


@pytest.mark.parametrize("text", ["mlp", "mlp(3)", "linear"])
def test_takes_tokens_to_the_other_width(text):
    built = registry.build("connector", text)
    assert registry.render(built) == text
    assert built.build(4, 6)(torch.zeros(5, 4)).shape == (5, 6)
    assert built.build(4, 6)(torch.zeros(0, 4)).shape == (0, 6)


def test_mlp_has_the_names_of_llava():
    assert list(registry.build("connector", "mlp").build(4, 6).state_dict()) == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]


def test_mlp_is_linear_gelu_linear_row_by_row():
    built = registry.build("connector", "mlp").build(4, 6)
    x = torch.randn(3, 4)
    by_hand = (
        torch.nn.functional.gelu(x @ built[0].weight.T + built[0].bias) @ built[2].weight.T
        + built[2].bias
    )
    torch.testing.assert_close(built(x), by_hand)


def test_a_connector_without_layers_is_refused():
    with pytest.raises(spec.SpecError, match="at least one layer"):
        registry.build("connector", "mlp(0)")

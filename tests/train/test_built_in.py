"""Language models without a hub, by name."""

from __future__ import annotations

import pytest

from regiontok.train.built_in import BUILT_IN, built_in


def test_options_are_those_of_the_model():
    choice = built_in("mini(width=24, layers=1, heads=2)")
    assert choice is not None
    assert choice.config().hidden_size == choice.model(0).config.hidden_size == 24
    for text, message in (
        ("mini(depth=3)", "mini takes width, layers, heads, inner and vocabulary"),
        ("mini(24)", "mini takes width, layers"),
        ("smollm2(width=3)", "smollm2 takes no options"),
    ):
        with pytest.raises(ValueError, match=message):
            built_in(text)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_config_is_known_without_weights(name):
    choice = built_in(name)
    assert choice is not None
    assert choice.config().model_type == "llama"


def test_names_of_folders_and_of_the_hub_are_left_alone():
    assert built_in("owner/smollm2") is None
    assert built_in("./mini") is None

"""A language model that cannot keep the samples of a packed row apart is refused by its family."""

from __future__ import annotations

import pytest

from regiontok.model.packed import check_packing
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm, other_vlm


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "mpt"])
def test_families_that_take_masks_and_positions_pack(family):
    model = other_vlm(family)
    check_packing(model)
    assert not model.training


def test_the_mini_model_packs():
    check_packing(mini_vlm(TokenizerSettings(encoder="filters(size=56)", regions="windows(2)")))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("bloom", "takes no packed rows"),
        ("mamba", "takes no packed rows"),
        ("rwkv", "lets the samples of a packed row see each other"),
        ("bert", "does not begin anew with each sample of a packed row"),
    ],
)
def test_others_are_refused_with_what_to_do(family, reason):
    with pytest.raises(ValueError, match=f"of type '{family}' {reason}.*; train without packing"):
        check_packing(other_vlm(family))

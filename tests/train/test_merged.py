"""LoRA merged in a gathered state dict is LoRA merged in the model: what a stage under FSDP2 or
ZeRO-3 saves."""

from __future__ import annotations

import copy

import pytest
import torch

from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import resolve
from regiontok.train.build import build, choose, merged, merged_state

STAGE = {
    "name": "tune",
    "data": [{"records": "miniworld(4)"}],
    "train": ["connector", "language_model"],
    "lora": {"rank": 3, "alpha": 7},
    "precision": "fp32",
}


@pytest.fixture
def adapted() -> RegionVLM:
    """A model under LoRA whose products are not zero, as after training."""
    table = {
        "what": "test",
        "tokenizer": {"encoder": "filters(size=56)", "regions": "windows(2)", "norm": "rms"},
        "model": {"language_model": "mini(width=24, layers=2, heads=2)"},
        "stage": [STAGE],
    }
    recipe = resolve(table, name="toy")
    model = choose(build(recipe).model, recipe.stage[0])
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data)
    return model


def test_the_state_is_that_of_the_merged_model(adapted):
    state = merged_state(adapted, adapted.state_dict())
    wanted = merged(copy.deepcopy(adapted)).state_dict()
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=1e-6)
    before = adapted.state_dict()
    changed = [
        name
        for name in wanted
        if f"{name}" in before and not torch.equal(before[name], wanted[name])
    ]
    assert not changed  # what was not adapted stays to the bit ...
    assert (
        len([name for name in before if ".base_layer.weight" in name]) == 14
    )  # ... and seven layers a block were adapted


def test_a_plain_skeleton_saves_it_and_loads_as_any_stage_does(adapted, tmp_path):
    state = merged_state(adapted, adapted.state_dict())
    with torch.device("meta"):
        plain = RegionVLM(adapted.config)
    plain.save_pretrained(tmp_path, state_dict=state)
    loaded = RegionVLM.from_pretrained(tmp_path)
    wanted = merged(adapted)
    ids = torch.tensor([[1, 9, 30, 40]])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.eval()(ids).logits, wanted.eval()(ids).logits, atol=1e-5, rtol=1e-5
        )

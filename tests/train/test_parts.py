"""The parts that a stage trains: rates, decay, and LoRA merged in a model or in its state dict."""

from __future__ import annotations

import copy

import pytest
import torch

from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Stage, resolve
from regiontok.train.build import build_model
from regiontok.train.parts import (
    adapts_matrices_only,
    merge_lora,
    merge_lora_state,
    set_trainable,
)
from samples.models import other_vlm

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
    model = set_trainable(build_model(recipe).model, recipe.stage[0])
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data)
    return model


def test_the_state_is_that_of_the_merged_model(adapted):
    state = merge_lora_state(adapted, adapted.state_dict())
    wanted = merge_lora(copy.deepcopy(adapted)).state_dict()
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=1e-6)
    before = adapted.state_dict()
    changed = [
        name for name in wanted if name in before and not torch.equal(before[name], wanted[name])
    ]
    assert not changed  # what was not adapted stays to the bit ...
    adapted_weights = [name for name in before if ".base_layer.weight" in name]
    assert len(adapted_weights) == 14  # ... and seven matrices in each of two layers were adapted


def test_matrices_of_gpt2_which_lie_the_other_way_round_are_adapted_and_merged():
    model = set_trainable(other_vlm("gpt2"), Stage(**STAGE)).eval()  # no dropout
    torch.manual_seed(0)
    up = {name: value for name, value in model.named_parameters() if "lora_B" in name}
    assert len(up) == 8  # four matrices in each of two layers; the last one is not adapted
    for value in up.values():
        torch.nn.init.normal_(value.data)
    assert adapts_matrices_only(model)
    ids = torch.tensor([[5, 6, 7]])
    state, logits = merge_lora_state(model, model.state_dict()), model(input_ids=ids).logits
    merged = merge_lora(model)
    torch.testing.assert_close(merged(input_ids=ids).logits, logits, atol=1e-4, rtol=1e-4)
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=1e-6)


def test_a_plain_skeleton_saves_it_and_loads_as_any_stage_does(adapted, tmp_path):
    state = merge_lora_state(adapted, adapted.state_dict())
    with torch.device("meta"):
        plain = RegionVLM(adapted.config)
    plain.save_pretrained(tmp_path, state_dict=state)
    loaded = RegionVLM.from_pretrained(tmp_path)
    wanted = merge_lora(adapted)
    ids = torch.tensor([[1, 9, 30, 40]])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.eval()(ids).logits, wanted.eval()(ids).logits, atol=1e-5, rtol=1e-5
        )

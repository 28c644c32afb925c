"""What a language model does not take is said before a stage is trained."""

from __future__ import annotations

import pytest
import torch

from regiontok.settings.recipe import Stage
from regiontok.train import stage_run
from regiontok.train.parts import set_trainable
from regiontok.train.trial import try_stage
from samples.models import other_vlm
from samples.training import ALIGN, losses, run_recipe, toy_recipe

ADAPTED = {"train": ["connector", "language_model"], "lora": {"rank": 2, "alpha": 4}}


def tried(family, *, answers=True, **changes):
    """Try a stage with these changes on a model of the family."""
    stage = Stage(**{**ALIGN, **changes})
    try_stage(set_trainable(other_vlm(family), stage), stage, answers=answers)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "opt-350m"])
@pytest.mark.parametrize("changes", [{}, ADAPTED, {"train": ["language_model"]}])
def test_families_unlike_a_llama_are_trained(family, changes):
    stage = Stage(**{**ALIGN, **changes})
    model = set_trainable(other_vlm(family), stage).train()
    state = torch.random.get_rng_state()
    try_stage(model, stage, answers=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {}, "of type 'bert' sees later tokens: take a causal language model"),
        ("mpt", ADAPTED, "'mpt' cannot be run on embeddings: .*does not support inputs_embeds"),
        ("ctrl", {}, "'ctrl' cannot be asked for answers .--answers 0 does not ask.: You passed"),
        ("bloom", {"pack": True}, "'bloom' takes no packed rows"),
        ("mamba", ADAPTED, "no LoRA for MambaForCausalLM .*; train it without lora"),
    ],
)
def test_what_a_family_does_not_take_names_it_and_the_stage(family, changes, message):
    with pytest.raises(ValueError, match=f"stage 'align': .*{message}"):
        tried(family, **changes)


def test_who_asks_for_no_answers_needs_none():
    tried("ctrl", answers=False)


def test_a_stage_is_tried_before_its_first_step(tmp_path, monkeypatch):
    def refuse(model, stage, *, answers):
        raise ValueError(f"{stage.name} {answers}")

    monkeypatch.setattr(stage_run, "try_stage", refuse)
    with pytest.raises(ValueError, match="align True"):
        run_recipe(toy_recipe(ALIGN), tmp_path / "run", held_out=2)
    assert losses(tmp_path / "run") == []

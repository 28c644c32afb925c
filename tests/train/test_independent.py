"""A stage of independent questions, from recipe to model."""

from __future__ import annotations

import pytest

from regiontok.model.block_attention import computes_by_blocks
from regiontok.model.block_layout import BlockLayout
from samples.training import ALIGN, losses, run_recipe, toy_recipe

DATA = "world(8, size=128, kinds='colour,count,left_right', captions=False)"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_by_blocks_trains_as_the_mask_does(tmp_path, monkeypatch, precision):
    """Also under autocast, which a CPU has with or without instructions for bfloat16."""
    laid_out = []

    def noted(spliced):
        laid_out.append(of(spliced))
        return laid_out[-1]

    of = BlockLayout.of
    monkeypatch.setattr(BlockLayout, "of", noted)
    monkeypatch.setattr("regiontok.train.arguments.computes_bfloat16", lambda cpu: True)
    stage = {**ALIGN, "data": [{"records": DATA}], "turns": "independent", "steps": 3}
    recipe = toy_recipe({**stage, "precision": precision, "train": ["connector", "language_model"]})
    run_recipe(recipe, tmp_path / "blocks")
    in_steps = len(laid_out) - 1  # the language model was tried first
    assert in_steps >= 3
    monkeypatch.setattr("regiontok.train.stage_run.computes_by_blocks", lambda model: False)
    run_recipe(recipe, tmp_path / "mask")
    assert len(laid_out) == in_steps + 1
    by_blocks, masked = (
        [number for _, _, *numbers in losses(tmp_path / name) for number in numbers]
        for name in ("blocks", "mask")
    )
    assert by_blocks == pytest.approx(masked, rel=1e-4 if precision == "fp32" else 0.02)


@pytest.mark.slow
def test_a_second_stage_computes_by_blocks_too(tmp_path, monkeypatch):
    """Autocast that stayed around the model would change its loss, and the mask be taken."""
    tried = []

    def noted(model):
        tried.append(computes_by_blocks(model))
        return tried[-1]

    monkeypatch.setattr("regiontok.train.stage_run.computes_by_blocks", noted)
    monkeypatch.setattr("regiontok.train.arguments.computes_bfloat16", lambda cpu: True)
    stage = {**ALIGN, "data": [{"records": DATA}], "turns": "independent", "naming": 0.5}
    stage |= {"steps": 2, "precision": "bf16", "train": ["connector", "language_model"]}
    run_recipe(toy_recipe(stage, {**stage, "name": "second"}), tmp_path / "run")
    assert tried == [True, True]


@pytest.mark.slow
def test_independent_questions_train_and_are_asked(tmp_path):
    stage = {**ALIGN, "data": [{"records": DATA}], "turns": "independent", "steps": 2}
    result = run_recipe(toy_recipe(stage), tmp_path / "run", held_out=2)
    assert result["stages"]["align"]["eval_answers"] > 0
    assert len(losses(tmp_path / "run")) == 2
    packed = run_recipe(toy_recipe({**stage, "pack": True}), tmp_path / "packed")
    assert not packed["stopped"]

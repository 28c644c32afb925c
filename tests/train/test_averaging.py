"""Averaged weights: by hand, into checkpoints and back, and in a run that is resumed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regiontok.train.averaging import WeightAverage
from samples.training import ALIGN, losses, run_recipe, toy_recipe, weights

STEPPED = (1.0, 3.0, 8.0, 4.0)


def averaged(model: nn.Module, average: WeightAverage, steps: range) -> None:
    for step in steps:
        model.weight.data.fill_(STEPPED[step - 1])
        average.on_step_end(None, SimpleNamespace(global_step=step), None)


def test_a_mean_at_first_then_by_the_decay_and_over_a_checkpoint(tmp_path):
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.5)
    averaged(model, average, range(1, 4))
    average.save(tmp_path)
    other = nn.Linear(1, 1)
    other.bias.requires_grad_(False)
    resumed = WeightAverage(other, 0.5)
    resumed.load(tmp_path)
    for net, kept in ((model, average), (other, resumed)):
        averaged(net, kept, range(4, 5))
        bias = net.bias.clone()
        kept.apply()
        # 1; (1 + 3) / 2 = 2; (2 + 8) / 2 = 5; (5 + 4) / 2
        assert net.weight.item() == 4.5
        assert torch.equal(net.bias, bias)
    with pytest.raises(ValueError, match="holds other weights than this stage trains"):
        WeightAverage(nn.Linear(1, 1), 0.5).load(tmp_path)


def test_averaged_weights_are_there_in_a_block_only():
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.5)
    averaged(model, average, range(1, 3))
    with average.applied():
        assert model.weight.item() == 2  # (1 + 3) / 2
    assert model.weight.item() == STEPPED[1]
    averaged(model, average, range(3, 4))
    average.apply()
    assert model.weight.item() == 5  # the block has not moved the average


@pytest.mark.slow
def test_an_evaluation_judges_the_average(tmp_path):
    stage = {**ALIGN, "average": 0.9, "betas": [0.8, 0.95], "steps": 3}
    options = {"held_out": 2, "evaluate_every": 3}
    evaluated = []
    for name, decay in (("averaged", 0.9), ("last", 0.0)):
        run_recipe(toy_recipe({**stage, "average": decay}), tmp_path / name, **options)
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        evaluated.append([each for each in map(json.loads, lines) if each["kind"] == "eval"])
    (during, at_the_end), (raw, _) = evaluated
    assert during["step"] == 3
    assert during["eval_loss"] == at_the_end["eval_loss"] != raw["eval_loss"]


@pytest.mark.slow
def test_a_resumed_run_has_the_same_average(tmp_path):
    stage = {**ALIGN, "average": 0.9, "betas": [0.8, 0.95], "steps": 3}
    run_recipe(toy_recipe(stage), tmp_path / "whole")
    run_recipe(toy_recipe(stage), tmp_path / "halves", stop_after=2)
    run_recipe(toy_recipe(stage), tmp_path / "halves", resume=True)
    run_recipe(toy_recipe({**stage, "average": 0.0}), tmp_path / "last")
    assert losses(tmp_path / "whole") == losses(tmp_path / "halves") == losses(tmp_path / "last")
    whole, halves, last = (
        weights(tmp_path / name / "1_align") for name in ("whole", "halves", "last")
    )
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
    assert any(not torch.equal(value, last[name]) for name, value in whole.items())

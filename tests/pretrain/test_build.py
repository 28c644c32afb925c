"""From recipes to heads and parameter groups."""

from __future__ import annotations

import pytest
from torch import nn

from regiontok.pretrain.build import class_heads, decay_groups
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives
from regiontok.settings.recipe import load_recipe


def test_a_head_has_what_it_says_and_else_what_all_heads_have():
    overrides = [
        "pretrain.loss.rho=0.25",
        "pretrain.loss.filter=0.75",
        "pretrain.text.loss.kind=softmax_rivals",
        "pretrain.text.loss.rho=0.5",
    ]
    table = load_recipe("rice/pretrain_b16", overrides=overrides).pretrain
    heads = {head.name: head for head in class_heads(table)}
    assert heads["object"].loss == RegionLoss(filter=0.75)
    assert heads["object"].negatives == Negatives(rho=0.25)
    assert heads["text"].loss == RegionLoss("softmax_rivals", filter=0.75)
    assert heads["text"].negatives == Negatives(rho=0.5)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_decay_is_for_matrices_or_for_all(all_of_it):
    decayed, others = decay_groups(nn.Linear(3, 2), 0.05, all_of_it=all_of_it)
    assert decayed["weight_decay"] == 0.05
    assert [parameter.ndim for parameter in decayed["params"]] == ([2, 1] if all_of_it else [2])
    assert len(others["params"]) == (0 if all_of_it else 1)


@pytest.mark.parametrize("name", ["l14", "b16"])
def test_the_twin_has_the_habits_of_the_authors_code_and_the_papers_data(name):
    twin, paper = (
        load_recipe(f"rice/{kind}_{name}", scale="paper").pretrain
        for kind in ("released", "pretrain")
    )
    for head in class_heads(twin):
        assert head.loss == RegionLoss("softmax_rivals", margin=0.3, scale=64.0, filter=0.75)
        assert head.negatives == Negatives("both", 0.1)
    optimizer = twin.optimizer
    assert (optimizer.betas, optimizer.weight_decay, optimizer.clip) == ([0.9, 0.999], 0.05, 5.0)
    assert optimizer.decay == "all"
    first = twin.stage[0]
    assert (first.learning_rate, first.schedule, first.power) == (1e-3, "polynomial", 2.0)
    assert all(stage.warmup_steps == stage.length // 10 for stage in twin.stage)
    assert (twin.data, twin.model, twin.object.classes) == (
        paper.data,
        paper.model,
        paper.object.classes,
    )

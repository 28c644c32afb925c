"""Every recipe loads at every scale; at scale mini each is built, run and stepped twice."""

from __future__ import annotations

import pytest
import torch

from regiontok.commands.ls import recipes
from regiontok.core.recipe import SCALES, load_recipe
from regiontok.miniworld.scenes import make_scene
from regiontok.tokenizer import RegionTokenizer

RECIPES = recipes()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("scale", SCALES)
def test_loads(name, scale):
    recipe = load_recipe(RECIPES[name], scale=scale)
    assert recipe.scale == scale
    assert recipe.what
    folder = name.split("/")[0]
    assert (recipe.source is None) == (folder == "quick")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_builds_runs_and_steps_twice(name):
    tokenizer = RegionTokenizer.from_recipe(load_recipe(RECIPES[name]))
    images = [make_scene(seed, (120, 160)).pixels for seed in range(2)]
    parameters = list(tokenizer.parameters())
    if not parameters:
        assert len(tokenizer(images)) > 0
        return
    optimiser = torch.optim.AdamW(parameters, lr=1e-2)
    before = [parameter.detach().clone() for parameter in parameters]
    for _ in range(2):
        optimiser.zero_grad()
        tokenizer(images).values.sin().mean().backward()
        optimiser.step()
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    assert any(not torch.equal(one, other) for one, other in zip(before, parameters, strict=True))

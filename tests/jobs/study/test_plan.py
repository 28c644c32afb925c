"""Plans of studies: what is read, what is refused before anything is trained."""

from __future__ import annotations

import pytest

from regiontok.jobs.study.plan import load_plan, plans
from regiontok.settings.recipe import RecipeError

PLAN = """
what = "Two settings"
recipe = "miniworld/patch"
start = "trained/model"
[[setting]]
name = "patches"
[[setting]]
name = "clusters"
changes = ["tokenizer.regions=merge(k=48)"]
[[setting]]
name = "turned"
trained = "clusters"
asked = ["regions=merge(k=48) | sort('random')"]
[[finding]]
title = "Are they alike?"
baseline = "patches"
settings = ["patches", "clusters", "turned"]
"""


def plan_of(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return load_plan(path)


@pytest.mark.parametrize("name", sorted(plans()))
def test_plans_of_the_package_are_whole(name):
    plan = load_plan(name)
    used = {setting for finding in plan.finding for setting in finding.settings}
    assert used == set(plan.settings_by_name)


def test_a_recipe_has_the_changes_the_start_and_the_seed(tmp_path):
    plan = plan_of(tmp_path, PLAN)
    turned = plan.settings_by_name["turned"]
    recipe, other = plan.recipe_of(turned, 0), plan.recipe_of(turned, 2)
    assert recipe.tokenizer.regions == "merge(k=48)"
    assert recipe.model.start == "trained/model"
    assert (recipe.tokenizer.seed, other.tokenizer.seed) == (0, 2)
    assert [b.seed - a.seed for a, b in zip(recipe.stage, other.stage, strict=True)] == [2] * 3


def test_from_scratch_settings_have_the_stages_of_their_recipes():
    plan = load_plan("full").from_scratch()
    recipe = plan.recipe_of(plan.settings_by_name["patches"], 0)
    assert recipe.model.start == ""
    assert [stage.name for stage in recipe.stage] == ["naming", "looking", "placing"]
    assert [stage.name for stage in load_plan("full").recipe_of(plan.setting[0], 0).stage] == [
        "tuning"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('baseline = "patches"', 'baseline = "patch"', "no setting 'patch'"),
        ('"patches", "clusters", "turned"', '"clusters"', "lacks its baseline"),
        ('trained = "clusters"', 'trained = "cluster"', "no setting 'cluster'"),
        ('name = "turned"', 'name = "clusters"', "different names"),
        ("merge(k=48) | sort('random')", "merge(k=48) | sorted()", "sorted"),
        ('what = "Two settings"', "what = 2", "what"),
        ('recipe = "miniworld/patch"', 'recipe = "miniworld/path"', "unknown recipe"),
        ("[[finding]]", "[[found]]", "found"),
        ("start =", "start ", "no TOML"),
    ],
)
def test_what_cannot_be_carried_out_is_an_error(tmp_path, old, new, message):
    with pytest.raises((RecipeError, ValueError), match=message):
        plan_of(tmp_path, PLAN.replace(old, new, 1))


def test_a_missing_plan_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'full'"):
        load_plan("ful")

"""The recipes that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from regiontok.settings.shipped import find_recipe, shipped_recipes


def test_names_are_paths_below_the_folder_and_bases_have_none():
    known = shipped_recipes()
    assert known["quick/cluster"].name == "cluster.toml"
    assert not any(name.split("/")[-1].startswith("_") for name in known)


def test_a_recipe_is_named_or_given_by_its_path(tmp_path):
    assert find_recipe("quick/cluster") == shipped_recipes()["quick/cluster"]
    assert find_recipe("my/recipe.toml") == Path("my/recipe.toml")
    assert find_recipe(tmp_path / "recipe.toml") == tmp_path / "recipe.toml"
    with pytest.raises(ValueError, match="did you mean 'quick/cluster'"):
        find_recipe("quick/clustr")

"""What the recipes that come with the package reproduce, table by table."""

from __future__ import annotations

from regiontok.settings.recipe import load_recipe, to_toml
from regiontok.settings.shipped import shipped_recipes


def recipes_by_table() -> dict[str, dict[str, str]]:
    """What each recipe reproduces, by its name, under its folder, paper and table.

    Tables and recipes stand in the order of the recipes' names.
    """
    by_table: dict[str, dict[str, str]] = {}
    for name, path in shipped_recipes().items():
        recipe = load_recipe(path)
        folder, source = name.split("/")[0], recipe.source
        origin = ", ".join(filter(None, (source.paper, source.table))) if source else ""
        title = f"{folder}: {origin}" if origin else folder
        by_table.setdefault(title, {})[name] = recipe.what
    return by_table


def name_of_recipe(name: str, resolved: str) -> str:
    """The name by which the package has this very recipe; else that of a file of it.

    Args:
        name: the recipe's own name, without its folder.
        resolved: the recipe as it was resolved.
    """
    for shipped, path in shipped_recipes().items():
        if path.stem == name and to_toml(load_recipe(path)) == resolved:
            return shipped
    return f"{name}.toml"

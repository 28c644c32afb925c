"""The recipes that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from regiontok.settings.recipe import load_recipe
from regiontok.system.choices import nearest

FOLDER = Path(__file__).parents[1] / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """The file of each recipe by its name, such as "study/table1_clip_cluster_rms".

    A file whose name begins with an underscore is a base of others and has no name of its own.
    """
    files = (path for path in sorted(FOLDER.rglob("*.toml")) if not path.name.startswith("_"))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in files}


def find_recipe(text: str) -> Path:
    """The file of a recipe, which is named or given by its path.

    Raises:
        ValueError: If the text is neither a known name nor ends in .toml; the nearest known name
            is in the message.
    """
    known = shipped_recipes()
    if text in known:
        return known[text]
    if Path(text).suffix == ".toml":
        return Path(text)
    raise ValueError(
        f"unknown recipe {text!r}{nearest(text, known)}; `regiontok ls recipes` lists them; "
        "a path ends in .toml"
    )


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

"""The files of the recipes that come with the package, by name; none of them is read."""

from __future__ import annotations

from pathlib import Path

from regiontok.system.choices import nearest

FOLDER = Path(__file__).parents[1] / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """The file of each recipe by its name, such as "study/table1_clip_cluster_rms".

    A file whose name begins with an underscore is a base of others and has no name of its own.
    """
    files = (path for path in sorted(FOLDER.rglob("*.toml")) if not path.name.startswith("_"))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in files}


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe, which is named or given by its path.

    Raises:
        ValueError: If the text is neither a known name nor ends in .toml; the nearest known name
            is in the message.

    >>> find_recipe("quick/cluster").name, find_recipe("my/recipe.toml").name
    ('cluster.toml', 'recipe.toml')
    """
    name, known = str(recipe), shipped_recipes()
    if name in known:
        return known[name]
    if Path(recipe).suffix == ".toml" or Path(recipe).exists():
        return Path(recipe)
    raise ValueError(
        f"unknown recipe {name!r}{nearest(name, known, most=3)}; `regiontok ls recipes` lists "
        "them; a path ends in .toml"
    )

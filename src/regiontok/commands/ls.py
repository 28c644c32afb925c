"""`regiontok ls`: every method and recipe with one line each, without importing any of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from regiontok.core import spec
from regiontok.core.recipe import load_recipe


def methods(kind: str | None = None) -> dict[str, dict[str, str]]:
    """kind -> name -> what it is."""
    kinds = [kind] if kind else [k for k in spec.FOLDERS if find_spec(spec.FOLDERS[k])]
    return {k: {name: spec.summary(k, name) for name in spec.names(k)} for k in kinds}


def recipes() -> dict[str, Path]:
    """Name ("study/table1_clip_cluster") -> file, of the recipes that come with the package."""
    root = Path(__file__).parents[1] / "recipes"
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.toml"))}


def find_recipe(text: str) -> Path:
    """A recipe by its name or its path.

    Raises:
        ValueError: neither; the nearest known name is said.
    """
    known = recipes()
    if text in known:
        return known[text]
    if Path(text).suffix == ".toml":
        return Path(text)
    raise ValueError(
        f"unknown recipe {text!r}{spec.nearest(text, known)}; `regiontok ls recipes` lists them; a path ends in .toml"
    )


def describe_recipes() -> dict[str, str]:
    """Name -> what it reproduces."""
    return {name: load_recipe(path).what for name, path in recipes().items()}

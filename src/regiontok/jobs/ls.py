"""`regiontok ls`: every method and recipe with one line each, without importing any of them;
encoders by short name as a table."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regiontok.settings import registry
from regiontok.settings.catalogue import CATALOGUE
from regiontok.settings.recipe import load_recipe
from regiontok.system.choices import nearest
from regiontok.system.hub import availability, cache_folder

if TYPE_CHECKING:
    from rich.table import Table


def methods(kind: str | None = None) -> dict[str, dict[str, str]]:
    """kind -> name -> what it is."""
    kinds = [kind] if kind else [k for k in registry.FOLDERS if find_spec(registry.FOLDERS[k])]
    return {k: {name: registry.summary(k, name) for name in registry.names(k)} for k in kinds}


def recipes() -> dict[str, Path]:
    """Name ("study/table1_clip_cluster_rms") -> file, of the recipes that come with the package; a
    file `_x.toml` is a base of others."""
    root = Path(__file__).parents[1] / "recipes"
    found = (path for path in sorted(root.rglob("*.toml")) if not path.name.startswith("_"))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in found}


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
        f"unknown recipe {text!r}{nearest(text, known)}; `regiontok ls recipes` lists them; a path ends in .toml"
    )


def group_recipes() -> dict[str, dict[str, str]]:
    """Folder and, in it, paper and table -> name -> what it reproduces, in the order of the
    names."""
    groups: dict[str, dict[str, str]] = {}
    for name, path in recipes().items():
        recipe = load_recipe(path)
        where = (
            ", ".join(filter(None, (recipe.source.paper, recipe.source.table)))
            if recipe.source
            else ""
        )
        title = f"{name.split('/')[0]}: {where}" if where else name.split("/")[0]
        groups.setdefault(title, {})[name] = recipe.what
    return groups


def encoders() -> list[dict[str, Any]]:
    """The catalogue, and whether each encoder is on this machine: "yes", "partly" or "no". Touches
    neither network nor weights."""
    return [
        {
            "name": entry.name,
            "grid": entry.grid,
            "width": entry.width,
            "tokens": entry.tokens,
            "licence": entry.licence,
            "threshold": entry.threshold,
            "here": availability(entry.hub) if entry.hub else "yes",
            "hub": entry.hub,
            "spec": entry.spec,
            "note": entry.note,
        }
        for entry in CATALOGUE
    ]


def encoder_table() -> Table:
    """The catalogue for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"encoders by name (here: in {escape(str(cache_folder()))})",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    table.add_column("name", no_wrap=True, style="cyan")
    for head in ("grid", "width", "tokens"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("weights' licence", overflow="fold", max_width=22)
    table.add_column("stands for", overflow="fold")
    for row in encoders():
        grid = "×".join(map(str, row["grid"])) if row["grid"] else "photo's"
        tokens = str(
            row["tokens"] or (f"{row['grid'][0] * row['grid'][1]}+" if row["grid"] else "-")
        )
        table.add_row(
            row["name"],
            grid,
            str(row["width"]),
            tokens,
            row["here"],
            escape(row["licence"]),
            escape(row["spec"]),
        )
    return table

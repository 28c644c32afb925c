"""The papers' figures, table by table, as the shipped recipes and their quoted rows state them.

A recipe's `[source]` names paper, table and row, its `[expect]` the printed figures; rows that are
others' models, or probes, stand in `_quoted.toml` files and are no recipes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.settings.recipe import load_recipe
from regiontok.settings.shipped import FOLDER, shipped_recipes
from regiontok.system.choices import nearest

# the folder of a paper's recipes
_PAPERS = {"study": "diagnostic-study", "og_llava": "og-llava", "rice": "rice"}


@dataclass(frozen=True)
class PublishedRow:
    """One printed row.

    Attributes:
        name: the recipe's name without its folder; "" where the row is no recipe.
        row: what the paper calls it.
        figures: the figures by name.
        source: paper and table.
        quoted: True if the paper took the row from elsewhere, or did not make the model.
        starred: figures that the paper marks as others' own; they may count something else.
    """

    name: str
    row: str
    figures: Mapping[str, float]
    source: str
    quoted: bool = False
    starred: tuple[str, ...] = field(default=())


def tables() -> list[str]:
    """The names of all tables that recipes state figures of, such as "study/1"."""
    of_recipes = {name for name in map(_table_of, shipped_recipes()) if name}
    of_quoted = {
        f"{folder}/{row['table'].removeprefix('Table ')}"
        for folder in _PAPERS
        for row in _quoted(folder)
    }
    return sorted(of_recipes | of_quoted)


def published_rows(table: str) -> list[PublishedRow]:
    """The printed rows of a table.

    Args:
        table: paper and table: "study/1" to "study/6", "study/supplement1", "og_llava/1", ...

    Raises:
        ValueError: If there is none; the nearest is named.
    """
    if table not in tables():
        raise ValueError(
            f"no figures of a table {table!r}{nearest(table, tables())}; known: "
            f"{', '.join(tables())}"
        )
    rows = [
        _row(name, path) for name, path in shipped_recipes().items() if _table_of(name) == table
    ]
    return [*(row for row in rows if row.figures), *_quoted_rows(table)]


def _table_of(name: str) -> str:
    """The table of a recipe by its name: "study/table1_clip_patch" is of "study/1"."""
    folder, _, stem = name.partition("/")
    match = re.match(r"(?:table(\d+[a-z]?)|(supplement\d+)|(figure\d+))_", stem)
    if folder not in _PAPERS or match is None:
        return ""
    number = match[1] or match[2] or match[3]
    return f"{folder}/{re.sub(r'(?<=[0-9])[a-z]$', '', number)}"


def _row(name: str, path: Path) -> PublishedRow:
    recipe = load_recipe(path)
    source = recipe.source
    origin = f"{source.paper}, {source.table}" if source else ""
    row = source.row if source and source.row else recipe.what
    return PublishedRow(name.partition("/")[2], row, dict(recipe.figures), origin)


def _quoted_rows(table: str) -> list[PublishedRow]:
    folder, _, number = table.partition("/")
    return [
        PublishedRow(
            name="",
            row=row["row"],
            figures=row["figures"],
            source=f"{row['paper']}, {row['table']}",
            quoted=not row.get("own", False),
            starred=tuple(row.get("starred", ())),
        )
        for row in _quoted(folder)
        if row["table"] == f"Table {number}"
    ]


def _quoted(folder: str) -> list[dict[str, Any]]:
    """The quoted rows of a paper, as its file has them."""
    path = FOLDER / folder / "_quoted.toml"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["quoted"]
    return rows

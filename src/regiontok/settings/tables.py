"""The tables of a recipe before they are checked: read, merged, and told apart by scale.

Everything here works on plain dictionaries, as `tomllib` gives them; `recipe` turns the result into
checked settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regiontok.settings.shipped import shipped_recipes
from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError

Table = dict[str, Any]
SCALES = ("mini", "small", "paper")
# What a file says of itself alone: the published figures of the file that it extends are not its.
OWN_KEYS = ("name", "what", "source", "expect", "corrected")


class RecipeError(RegiontokError, ValueError):
    """A recipe that cannot be read; the message names file, key and the nearest known name."""


def read_table(path: Path) -> Table:
    """The table of a recipe file, over those that it extends.

    Raises:
        RecipeError: If the file or one that it extends is missing or no TOML, or if a file extends
            itself, be it through others.
    """
    return _read_table(path, ())


def _read_table(path: Path, extended_by: tuple[Path, ...]) -> Table:
    """The table of a file; `extended_by` are the files on the way to it."""
    if path.resolve() in extended_by:
        circle = " -> ".join(file.name for file in (*extended_by, path))
        raise RecipeError(f"{path}: it extends itself ({circle})")
    table = _read_toml(path)
    value = table.pop("extends", [])
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise RecipeError(
            f"{path}: extends is a file beside this one or the name of a shipped recipe, or a list "
            f"of such, not {value!r}"
        )
    bases = []
    for name in names:
        base = _read_table(_base_path(path, name), (*extended_by, path.resolve()))
        bases.append({key: value for key, value in base.items() if key not in OWN_KEYS})
    return merged(*bases, table)


def _base_path(path: Path, name: str) -> Path:
    """The file that a recipe extends: one beside it, or else a recipe of the package."""
    base_path = path.parent / name
    if base_path.is_file():
        return base_path
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    siblings = base_path.parent.glob("*.toml")
    others = [sibling.name for sibling in siblings if sibling.name != path.name]
    raise RecipeError(
        f"{path}: it extends {name!r}, and there is no such file beside it and no such shipped "
        f"recipe{nearest(name, [*others, *shipped])}"
    )


def _read_toml(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise RecipeError(f"{path}: not a readable TOML file ({error})") from None


def merged(*tables: Mapping[str, Any]) -> Table:
    """Tables merged key by key, the later over the earlier; lists are replaced, not joined.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": [4]})
    {'a': {'x': 1, 'y': 3}, 'b': [4]}
    """
    result: Table = {}
    for table in tables:
        for key, value in table.items():
            old = result.get(key)
            are_tables = isinstance(value, Mapping) and isinstance(old, Mapping)
            result[key] = merged(old, value) if are_tables else value  # type: ignore[arg-type]
    return result


def split_scales(table: Mapping[str, Any], name: str) -> tuple[Table, dict[str, Table]]:
    """A recipe's table without its `[scale]`, and what changes at each scale that it names.

    Raises:
        RecipeError: If `[scale]` is no table of tables, or names an unknown scale.
    """
    table = dict(table)
    scales = table.pop("scale", {})
    if not isinstance(scales, dict):
        raise RecipeError(
            f"{name}: 'scale' is a table ([scale.paper.tokenizer], ...); "
            "the scale itself is chosen when loading"
        )
    for scale, changes in scales.items():
        check_scale(scale, f"{name}: ")
        if not isinstance(changes, dict):
            raise RecipeError(
                f"{name}: [scale.{scale}] is a table of what changes at that scale, not {changes!r}"
            )
    return table, scales


def check_scale(scale: str, prefix: str = "") -> None:
    """Refuse a scale that is none of `SCALES`; the message begins with `prefix`.

    Raises:
        RecipeError: If it is unknown; the nearest known one is named.
    """
    if scale not in SCALES:
        raise RecipeError(
            f"{prefix}unknown scale {scale!r}{nearest(scale, SCALES)}; known: {', '.join(SCALES)}"
        )


def override_table(text: str, name: str) -> Table:
    """The table that an override stands for.

    Raises:
        RecipeError: If the text is not of the form ``tokenizer.pool=attend``.

    >>> override_table("tokenizer.seed=7", "mine"), override_table("tokenizer.pool=attend", "mine")
    ({'tokenizer': {'seed': 7}}, {'tokenizer': {'pool': 'attend'}})
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{name}: expected an override like tokenizer.pool=attend, got {text!r}")
    try:
        table: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table = value.strip()  # a bare word is text
    for word in reversed(key.strip().split(".")):
        table = {word: table}
    return dict(table)


def completed(table: Mapping[str, Any], name: str) -> Table:
    """A table with its `[every_stage]` and `[inference.tokenizer]` filled in, also in `[pretrain]`.

    Raises:
        RecipeError: If there is an `[every_stage]` without a stage, or a scale as a key.
    """
    if "scale" in table:
        raise RecipeError(
            f"{name}: the scale is chosen when loading (scale='paper'), not by a key or an override"
        )
    table = _with_whole_inference(_with_whole_stages(table, name))
    if isinstance(table.get("pretrain"), Mapping):
        table["pretrain"] = _with_whole_stages(table["pretrain"], name)
    return table


def _with_whole_stages(table: Mapping[str, Any], name: str) -> Table:
    """`[every_stage]` (of a scale, or an override `every_stage.steps=2`) merged into each stage."""
    table = dict(table)
    changes = table.pop("every_stage", {})
    if not isinstance(changes, Mapping) or (changes and not table.get("stage")):
        raise RecipeError(
            f"{name}: [every_stage] is a table of what changes in each [[stage]], "
            "and there must be one"
        )
    stages = table.get("stage")
    if changes and isinstance(stages, list):
        table["stage"] = [
            merged(stage, changes) if isinstance(stage, Mapping) else stage for stage in stages
        ]
    return table


def _with_whole_inference(table: Table) -> Table:
    """`[inference.tokenizer]`, which says what changes, merged over `[tokenizer]`."""
    inference, tokenizer = table.get("inference"), table.get("tokenizer", {})
    changes = inference.get("tokenizer") if isinstance(inference, Mapping) else None
    if not isinstance(changes, Mapping) or not isinstance(tokenizer, Mapping):
        return table  # absent, or refused later, by its type
    return table | {"inference": {**inference, "tokenizer": merged(tokenizer, changes)}}  # type: ignore[dict-item]

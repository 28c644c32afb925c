"""Whether a run that is to go on is of the same recipe: parsed settings are compared, not text.

A field that a later version added has its default in a run that was begun before, so that such a
run goes on. What a recipe says of its origin decides nothing and is not compared.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from regiontok.settings.recipe import Recipe, resolve
from regiontok.settings.toml_text import toml_value

ABOUT = ("what", "scale", "source", "expect", "corrected")


class Difference(NamedTuple):
    """A setting that two recipes have otherwise.

    Attributes:
        key: its key, such as "pretrain.object.classes".
        begun: the value with which the run was begun.
        now: the value that is asked for now.
    """

    key: str
    begun: Any
    now: Any

    def __str__(self) -> str:
        begun, now = (f"{self.key} = {_text(value)}" for value in (self.begun, self.now))
        return f"there {begun!r}, now {now!r}"


def parse_resolved(text: str) -> Recipe:
    """The recipe of a run's `resolved.toml`, with the defaults of this version filled in.

    Raises:
        ValueError: If it is no TOML, or holds settings that this version does not know.
    """
    return resolve(tomllib.loads(text), name="resolved")


def differences(begun: Recipe, now: Recipe) -> list[Difference]:
    """The settings that differ, in the order of the recipe."""
    first, second = (_flat(recipe.model_dump(exclude=set(ABOUT))) for recipe in (begun, now))
    keys = dict.fromkeys([*first, *second])
    return [
        Difference(key, first.get(key), second.get(key))
        for key in keys
        if first.get(key) != second.get(key)
    ]


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """The values of nested tables and lists by their dotted keys."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        items = enumerate(value)
    else:
        return {key: value}
    flat: dict[str, Any] = {}
    for name, inner in items:
        flat |= _flat(inner, f"{key}.{name}" if key else str(name))
    return flat


def _text(value: Any) -> str:
    return "none" if value is None else toml_value(value)

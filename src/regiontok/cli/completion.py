"""What a shell completes behind the words of the command line; nothing heavy is imported.

Typer calls these functions with the incomplete word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable


def words(choices: Collection[str]) -> Callable[[str], list[str]]:
    """The function that completes one of the choices.

    >>> words(("mini", "small", "paper"))("m")
    ['mini']
    """
    return lambda incomplete: _matching(choices, incomplete)


def lists(incomplete: str) -> list[str]:
    """What `regiontok ls` lists."""
    from regiontok.jobs.ls import LISTS

    return _matching(LISTS, incomplete)


def methods(kind: str) -> Callable[[str], list[str]]:
    """The function that completes a method's name, and the short names of its kind."""
    return lambda incomplete: _matching(_names(kind), incomplete)


def recipes(incomplete: str) -> list[str]:
    """The names of shipped recipes that begin so."""
    from regiontok.settings.shipped import shipped_recipes

    return _matching(shipped_recipes(), incomplete)


def shown(incomplete: str) -> list[str]:
    """What `regiontok show` knows by name: methods of all kinds, short names and recipes."""
    from regiontok.settings.registry import FOLDERS

    names = dict.fromkeys(name for kind in FOLDERS for name in _names(kind))
    return [*_matching(names, incomplete), *recipes(incomplete)]


def _names(kind: str) -> list[str]:
    from regiontok.settings.registry import names, short_names

    return [*names(kind), *short_names(kind)]


def _matching(choices: Iterable[str], incomplete: str) -> list[str]:
    return [choice for choice in choices if choice.startswith(incomplete)]

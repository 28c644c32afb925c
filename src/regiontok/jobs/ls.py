"""`regiontok ls`: every method with one line, the encoders that have a short name, shipped models.

None of them is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.util import find_spec
from typing import Any

from regiontok.settings import registry
from regiontok.settings.catalogue import CATALOGUE
from regiontok.system.choices import nearest
from regiontok.system.hub import availability
from regiontok.system.shipped_models import BEST, best_model, shipped_models

# What is listed, and the kind of method that each word means; recipes and models are none.
LISTS = {
    "encoders": "encoder",
    "segmenters": "segmenter",
    "transforms": "transform",
    "steps": "step",
    "pools": "pool",
    "places": "place",
    "connectors": "connector",
    "families": "family",
    "benches": "bench",
    "recipes": None,
    "models": None,
}


def listed(text: str) -> str:
    """The word of `LISTS` that a user means; the singular does, too.

    Raises:
        ValueError: If there is none; the nearest is named.

    >>> listed("step"), listed("recipes")
    ('steps', 'recipes')
    """
    words = {word: word for word in LISTS} | {kind: word for word, kind in LISTS.items() if kind}
    words |= {"recipe": "recipes", "model": "models"}
    if text not in words:
        raise ValueError(
            f"there is no list of {text!r}{nearest(text, LISTS)}; known: {', '.join(LISTS)}"
        )
    return words[text]


def methods_by_kind(kind: str | None = None) -> dict[str, dict[str, str]]:
    """The first line of each method's documentation by its name, under its kind.

    Args:
        kind: "encoder", "segmenter", "transform", "step", "pool", "place", "connector" or "bench";
            None lists all of them.

    Raises:
        SpecError: If the kind is unknown.
    """
    kinds = [kind] if kind else [k for k in registry.FOLDERS if find_spec(registry.FOLDERS[k])]
    return {k: {name: registry.summary(k, name) for name in registry.names(k)} for k in kinds}


def encoder_rows() -> list[dict[str, Any]]:
    """The encoders that have a short name, one dictionary each.

    "grid" is (h, w) in patches, "here" is "yes", "partly" or "no" and says whether the weights are
    on this machine. Neither network nor weights are touched.
    """
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


def model_rows() -> list[dict[str, Any]]:
    """The models that come with the package, one dictionary each, the best one first.

    "score" and "scores" are percentages on the bench that "bench" names, "bytes" is the size of the
    model's files, and "alias" is "mini" for the best one, else "".
    """
    best = best_model()
    models = sorted(shipped_models().values(), key=lambda model: -model.score)
    return [
        {
            "name": model.name,
            "alias": BEST if best and model.name == best.name else "",
            "what": model.what,
            "parameters": model.parameters,
            "bytes": model.size,
            "bench": model.bench,
            "score": model.score,
            "scores": model.scores,
        }
        for model in models
    ]


def matching(groups: Mapping[str, Mapping[str, str]], pattern: str) -> dict[str, dict[str, str]]:
    """The names that match a pattern, under their titles; a title without any is left out.

    Args:
        groups: the line of each name, under titles.
        pattern: a glob that the whole name matches, such as ``study/table1_*``, or a text that
            stands in the name or its line. Capitals make no difference.

    Raises:
        ValueError: If nothing matches.

    >>> matching({"step": {"merge": "Merge regions.", "sort": "Order them."}}, "MERG")
    {'step': {'merge': 'Merge regions.'}}
    """
    pattern = pattern.lower()
    is_glob = any(sign in pattern for sign in "*?[")

    def matches(name: str, line: str) -> bool:
        if is_glob:
            return fnmatch(name.lower(), pattern)
        return pattern in f"{name} {line}".lower()

    matched = {
        title: {name: line for name, line in lines.items() if matches(name, line)}
        for title, lines in groups.items()
    }
    if not any(matched.values()):
        known = [name for lines in groups.values() for name in lines]
        raise ValueError(f"nothing matches {pattern!r}{nearest(pattern, known, most=3)}")
    return {title: lines for title, lines in matched.items() if lines}

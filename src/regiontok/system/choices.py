"""Words that a setting takes: a wrong one is refused, and the nearest known one is named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """`` (did you mean 'x'?)``, or nothing: the end of an error message. Up to `most` names, the
    nearest first.

    >>> nearest("mrege", ["merge", "sort"]), nearest("dino-l", ["dinov2-l", "dinov3-l", "radio-l"], most=2)
    (" (did you mean 'merge'?)", " (did you mean 'dinov3-l' or 'dinov2-l'?)")
    """
    close = difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise unless `value` is one of the words that the setting `what` takes.

    Raises:
        ValueError: it is none of them; the nearest is named.
    """
    if value not in known:
        raise ValueError(
            f"{what} must be {' or '.join(map(repr, known))}, not {value!r}{nearest(value, known)}"
        )

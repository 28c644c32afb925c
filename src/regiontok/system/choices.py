"""Words that a setting takes: a wrong one is refused, and the nearest known one is named."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """The end of an error message, `` (did you mean 'x'?)``; "" if no known name is near.

    Args:
        name: the word that is not known.
        known: the words that are.
        most: how many of them are suggested at most; the nearest comes first.

    >>> nearest("mrege", ["merge", "sort"])
    " (did you mean 'merge'?)"
    >>> nearest("dino-l", ["dinov2-l", "dinov3-l", "radio-l"], most=2)
    " (did you mean 'dinov3-l' or 'dinov2-l'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def check_choice(setting: str, value: str, choices: Collection[str]) -> None:
    """Refuse a value that is none of the choices of a setting.

    Raises:
        ValueError: If it is none of them; the message names the setting and the nearest choice.

    >>> check_choice("norm", "rsm", ("none", "rms"))
    Traceback (most recent call last):
    ValueError: norm must be 'none' or 'rms', not 'rsm' (did you mean 'rms'?)
    """
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise ValueError(f"{setting} must be {expected}, not {value!r}{nearest(value, choices)}")

"""The base of every error class of this package, and how another library's error is quoted."""

from __future__ import annotations


class RegiontokError(Exception):
    """Base of the errors that this package defines.

    Each error class also derives from the builtin that fits it (`ValueError`, `ImportError`,
    `RuntimeError`), so a caller may catch either. An argument of the wrong range is a plain
    `ValueError`, one of the wrong type a plain `TypeError`.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message: other libraries' messages go on for pages.

    >>> first_line(ValueError("no such key\\nhere is all I know about keys ..."))
    'no such key'
    >>> first_line(KeyError())
    'KeyError'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""The base of every error class of this package, and how another library's error is quoted."""

from __future__ import annotations


class RegiontokError(Exception):
    """Base of the errors that this package defines.

    Each error class also derives from the builtin that fits it (`ValueError`, `ImportError`,
    `RuntimeError`, `OSError`), so a caller may catch either. An argument of the wrong range is a
    plain `ValueError`, one of the wrong type a plain `TypeError`.
    """


class RegiontokWarning(UserWarning):
    """The category of warnings that this package gives by Python's `warnings`."""


class UnusableModel(RegiontokError, ValueError):
    """A model that cannot be loaded, whatever picture it is given; the message says why.

    A run over many pictures ends by it, where any other ValueError sets its picture aside.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message: other libraries' messages go on for pages.

    >>> first_line(ValueError("no such key\\nhere is all I know about keys ..."))
    'no such key'
    >>> first_line(KeyError())
    'KeyError'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """True if a device or the host had no memory left, by what torch and Python say then.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    True
    """
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in message for words in ("out of memory", "can't allocate memory")
    )

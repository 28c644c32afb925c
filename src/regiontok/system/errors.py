"""The base of every error class of this package."""

from __future__ import annotations


class RegiontokError(Exception):
    """Base of the errors that this package defines.

    Each error class also derives from the builtin that fits it (`ValueError`, `ImportError`,
    `RuntimeError`), so a caller may catch either. An argument of the wrong range is a plain
    `ValueError`, one of the wrong type a plain `TypeError`.
    """

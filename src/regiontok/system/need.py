"""The one way to import something optional: a missing package is one clear error that names the
extra."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackage(ImportError):
    """An optional package is not installed; the message says which extra of regiontok brings it."""


def need(module: str, *, extra: str) -> ModuleType:
    """Import and return `module` (dotted name), or say how to get it.

    Raises:
        MissingPackage: the package is not there: ``needs X, which is not installed: pip install
            'regiontok[extra]'``.

    >>> need("json", extra="hub").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            # the package is there, and something it needs itself is not: its own message says what
            raise
        missing = error.name or module  # a part of the package, if the package is there but too old
        raise MissingPackage(
            f"this needs {missing}, which is not installed: pip install 'regiontok[{extra}]'",
            name=missing,
        ) from None

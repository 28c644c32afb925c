"""The only way to import an optional package: a missing one is one error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from regiontok.system.errors import RegiontokError


class MissingPackage(RegiontokError, ImportError):
    """An optional package is not installed; the message says which extra of regiontok brings it."""


def need(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: dotted name.
        extra: the extra of regiontok that brings its package.

    Raises:
        MissingPackage: If the package is not installed: ``this needs X, which is not installed: pip
            install 'regiontok[extra]'``.

    >>> need("json", extra="hub").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            # The package is installed, but lacks one of its own: its own message says which.
            raise
        # A submodule, if the package is installed but too old to have it.
        missing = error.name or module
        raise MissingPackage(
            f"this needs {missing}, which is not installed: pip install 'regiontok[{extra}]'",
            name=missing,
        ) from None

"""Functions that numba compiles; the machine code is kept on disk where a folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Numba's `njit` without the GIL, whose cache is beside the source or in the user's folder.

    Where neither can be written, as in a container with a read-only root, every process compiles
    anew; `NUMBA_CACHE_DIR` names another folder.

    Args:
        **options: more options of `njit`.
    """

    def decorate(function: _Function) -> _Function:
        try:
            kernel: _Function = njit(cache=True, nogil=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            kernel = njit(nogil=True, **options)(function)
        return kernel

    return decorate

"""Compiled functions work wherever the package lies."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core import caching

from regiontok.system.compiled import compiled


def twice(values):
    total = 0.0
    for value in values:
        total += 2 * value
    return total


@pytest.mark.parametrize("has_place", [True, False])
def test_a_read_only_installation_and_home_compile_all_the_same(monkeypatch, tmp_path, has_place):
    """As in a container with a read-only root: numba finds no place for its cache."""

    def place(*_):
        if not has_place:
            raise OSError("Read-only file system")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", place)
    kernel = compiled(error_model="numpy")(twice)
    monkeypatch.undo()
    assert kernel(np.arange(4.0)) == 12.0
    assert isinstance(kernel._cache, caching.FunctionCache) == has_place


def test_other_errors_stay(monkeypatch):
    def njit(**_):
        raise RuntimeError("no LLVM")

    monkeypatch.setattr("regiontok.system.compiled.njit", njit)
    with pytest.raises(RuntimeError, match="no LLVM"):
        compiled()(twice)

"""Which tensors of safetensors files transformers reads, and not only their shapes."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors
from transformers import modeling_utils


class _WatchedSlice:
    """A slice that notes its name when it is read."""

    def __init__(self, inner: Any, name: str, read: set[str]) -> None:
        self._inner, self._name, self._read = inner, name, read

    def __getitem__(self, index: Any) -> Any:
        self._read.add(self._name)
        return self._inner[index]

    def __getattr__(self, name: str) -> Any:  # shape and type, which the header says
        return getattr(self._inner, name)


def watch_reading(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the tensors that are read from now on; it fills as they are."""
    read: set[str] = set()

    class WatchedFile:
        def __init__(self, *args: Any, **options: Any) -> None:
            self._file = safetensors.safe_open(*args, **options)

        def get_slice(self, name: str) -> _WatchedSlice:
            return _WatchedSlice(self._file.get_slice(name), name, read)

        def __enter__(self) -> WatchedFile:
            self._file.__enter__()
            return self

        def __exit__(self, *args: Any) -> None:
            self._file.__exit__(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(modeling_utils, "safe_open", WatchedFile)
    return read

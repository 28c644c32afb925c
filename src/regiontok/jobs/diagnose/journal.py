"""What `regiontok diagnose` has measured so far: one JSON line a measurement, found again by
everything that decides it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


class Journal:
    """Measurements by key, on disk as soon as they are made.

    Args:
        path: the file of JSON lines.
        resume: read what is there; False starts afresh.

    Raises:
        ValueError: a line in the middle of the file that is none of ours.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path, self._found = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = _lines(path) if resume and path.is_file() else []
        for number, line in enumerate(whole, start=1):
            try:
                entry = json.loads(line)
                self._found[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path}, line {number}, is no measurement; move the file away and measure anew"
                ) from None
        path.write_bytes(b"".join(line + b"\n" for line in whole))

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def add(self, key: str, value: Any) -> None:
        """Keep a measurement."""
        self._found[key] = value
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}, allow_nan=False) + "\n")


def _lines(path: Path) -> list[bytes]:
    """Whole lines; what a stopped process left of its last one is dropped."""
    return path.read_bytes().split(b"\n")[:-1]


def key_of(*parts: Any) -> str:
    """32 hex digits of whatever decides a measurement.

    >>> key_of("lite", 1) == key_of("lite", 1), key_of("lite", 1) == key_of("lite", 2)
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

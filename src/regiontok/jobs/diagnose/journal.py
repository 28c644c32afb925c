"""The journal of a diagnosis: one JSON line a measurement, found again by all that decides it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


class Journal:
    """Measurements by key, on disk as soon as they are made.

    Args:
        path: the file of JSON lines.
        resume: whether to read the measurements that the file holds; False starts afresh.

    Raises:
        ValueError: If a line in the middle of the file is no measurement.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path, self._values = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path) if resume and path.is_file() else []
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                self._values[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path}, line {number}, is no measurement; move the file away and measure anew"
                ) from None
        path.write_bytes(b"".join(line + b"\n" for line in lines))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, key: str, value: Any) -> None:
        """Keep a measurement, in memory and on disk."""
        self._values[key] = value
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}, allow_nan=False) + "\n")


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file without the last, if a stopped process left it unfinished."""
    return path.read_bytes().split(b"\n")[:-1]


def key_of(*parts: Any) -> str:
    """A hash, 32 hexadecimal digits, of all that decides a measurement.

    >>> key_of("lite", 1) == key_of("lite", 1), key_of("lite", 1) == key_of("lite", 2)
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

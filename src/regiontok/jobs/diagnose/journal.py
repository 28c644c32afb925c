"""The journal of a diagnosis: one JSON line a measurement, found again by all that decides it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from regiontok.system.files import named_in_errors, replacing
from regiontok.system.strict_json import parse_json


class Journal:
    """Measurements by key, on disk as soon as they are made.

    What an earlier run has measured stays in the file until `finish`, also of a run that starts
    afresh: who stops that one can still go on with both.

    Args:
        path: the file of JSON lines.
        resume: whether to take the measurements that the file holds; False starts afresh.

    Raises:
        ValueError: If measurements are taken, and a line in the middle of the file is none.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        self._passing: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path) if path.is_file() else []
        earlier: dict[str, Any] = {}
        for number, line in enumerate(lines, start=1):
            try:
                entry = parse_json(line)
                earlier[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                if resume:
                    raise ValueError(
                        f"{path}, line {number}, is no measurement; move the file away and measure "
                        "anew"
                    ) from None
        if resume:
            self._values |= earlier
        self._write(earlier)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, key: str, value: Any, *, keep: bool = True) -> None:
        """Keep a measurement, in memory and on disk.

        Args:
            key: what decides it.
            value: the measurement.
            keep: False keeps it for this run alone.
        """
        self._values[key] = value
        if not keep:
            self._passing.add(key)
            return
        with named_in_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Let the file hold what this run has taken and made, and nothing else."""
        self._write({k: value for k, value in self._values.items() if k not in self._passing})

    def _write(self, values: dict[str, Any]) -> None:
        with replacing(self._path) as path, path.open("w", encoding="utf-8") as file:
            for key, value in values.items():
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

"""The index of an output folder: a JSON line for each image, with its sizes, tokens or error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regiontok.jobs.tokenize.images import TokenizeOutcome
from regiontok.jobs.tokenize.report import REPORT, is_report, read_report
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes

INDEX = ".index.jsonl"  # hidden, so that all one sees in an output folder are its images


class RunIndex:
    """The images of this run and of earlier ones below the same folder.

    Args:
        out: the output folder.

    Raises:
        ValueError: If the folder has another file of the index's name.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._path = out, out / INDEX
        self._entries = {_place(entry): entry for entry in _earlier_entries(self._path)}
        self._has_changed = False

    def add(self, outcome: TokenizeOutcome) -> None:
        """Enter what became of an image, in the place of what an earlier run said of it.

        Tokens of earlier runs stay in the entry, also if this one set the image aside.
        """
        image = str(outcome.source.path)
        entry: dict[str, Any] = {
            "image": image,
            "folder": outcome.source.name,
            "error": outcome.error,
        }
        report = read_report(self._out / outcome.source.name)
        if is_report(report) and (outcome.report or report.get("image") == image):
            tokens = {spec["spec"]: spec.get("tokens") for spec in report["settings"]}
            entry |= {"key": report["key"], "size": report.get("size"), "tokens": tokens}
        self._entries[_place(entry)] = entry
        self._has_changed = True

    def write(self) -> None:
        """Write the index, sorted by folder; images whose folder is gone are left out."""
        if not self._has_changed:
            return
        lines = [
            json_bytes(entry)
            for _, entry in sorted(self._entries.items())
            if entry["error"] or (self._out / entry["folder"] / REPORT).is_file()
        ]
        with replacing(self._path) as path:
            path.write_bytes(b"".join(lines))


def _place(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["folder"], entry["image"]


def _earlier_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of an index; none if there is no file.

    Raises:
        ValueError: If the file is no index.
    """
    if not path.exists():
        return []
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if all(isinstance(entry[key], str) for entry in entries for key in ("image", "folder")):
            return [{"error": None, **entry} for entry in entries]
    except (ValueError, TypeError, KeyError, IndexError, IsADirectoryError, RecursionError):
        pass
    raise ValueError(
        f"{path} is there and is no index of tokenize: move it away, or choose another --out"
    )

"""The samples of one model on disk: JSON lines that a kill leaves whole up to the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.evaluation.focus import FocusSample
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing
from regiontok.system.strict_json import parse_json, strict_json
from regiontok.system.writing import clear_write_errors


class OtherFocus(RegiontokError, ValueError):
    """A file holds samples of other settings, or no samples; the message names the setting."""


@dataclass
class SampleFile:
    """The file of one model.

    Attributes:
        path: the file; its first line holds the settings.
        settings: all that decides the samples.
        samples: the lines of questions that are done, by id.
        set_aside: why questions were set aside in this run, by id.
    """

    path: Path
    settings: Mapping[str, Any]
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any], *, overwrite: bool) -> SampleFile:
        """The file with the samples that it holds; those that were set aside are tried again.

        Args:
            path: the file, which need not be there.
            settings: what decides the samples.
            overwrite: whether to replace samples of other settings.

        Raises:
            OtherFocus: If the file has samples of other settings and is not to be replaced, or is
                no file of samples.
        """
        settings = json.loads(strict_json(settings))  # as they are read back
        file = cls(path, settings)
        if path.is_file():
            lines = _whole_lines(path)
            earlier = lines[0].get("settings", {}) if lines else settings
            if earlier == settings:
                file.samples = {line["id"]: line for line in lines[1:] if "error" not in line}
            elif not overwrite:
                raise OtherFocus(f"{path} {_difference(earlier, settings)}")
        text = [{"kind": "focus", "settings": settings}, *file.samples.values()]
        with clear_write_errors(path), replacing(path) as temporary:
            temporary.write_text("".join(f"{_text(line)}\n" for line in text), encoding="utf-8")
        return file

    def add(self, line: Mapping[str, Any]) -> None:
        """Keep the line of a question, in memory and on disk."""
        name = str(line["id"])
        if "error" in line:
            self.set_aside[name] = str(line["error"])
        else:
            self.samples[name] = dict(line)
        with clear_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_text(line) + "\n")


def _text(line: Mapping[str, Any]) -> str:
    return strict_json(line, ensure_ascii=False)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file without the last, if a stopped process left it unfinished."""
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            line = parse_json(text)
            if number == 1:
                valid = line["kind"] == "focus" and isinstance(line["settings"], dict)
            else:
                valid = "error" in line or bool(FocusSample.of_line(line).id)
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise OtherFocus(
                f"{path}, line {number}, is none of regiontok focus: move the file away, or choose "
                "another --out"
            )
        lines.append(line)
    return lines


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, and what to do."""
    options = (earlier.get("options", {}), now["options"])
    for old, new in (options, (earlier, now)):
        for name in new:
            if old.get(name) != new[name] and name != "options":
                return (
                    f"holds samples of {name}={old.get(name)!r}, now it is {new[name]!r}: choose "
                    "another --out, or replace them with --overwrite"
                )
    return "holds samples of other settings: choose another --out, or say --overwrite"

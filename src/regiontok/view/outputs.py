"""The folder that `tokenize` wrote for one image, as the page gets it: a panel a spec and view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.jobs.tokenize.names import spec_names
from regiontok.jobs.tokenize.report import is_report, read_report
from regiontok.jobs.tokenize.tables import label_of, views_of
from regiontok.system.errors import RegiontokError
from regiontok.system.strict_json import parse_json
from regiontok.view.panels import view_data, view_names
from regiontok.view.tree_data import fixed_data


class BrokenOutput(RegiontokError, ValueError):
    """A folder of `tokenize` cannot be read; the message says what is wrong with it."""


def read_output(folder: Path) -> dict[str, Any]:
    """The report of an image's folder.

    Raises:
        BrokenOutput: If it has none that can be read.
    """
    report = read_report(folder)
    if not is_report(report):
        raise BrokenOutput(f"{folder.name}: its report.json cannot be read; tokenize it again")
    content: dict[str, Any] = report
    return content


def output_labels(folder: Path, report: dict[str, Any]) -> list[dict[str, str]]:
    """What is written above each panel: one for each view of each region spec."""
    return [
        _label(report, setting, names[view]) for setting, view, names in _places(folder, report)
    ]


def _label(report: dict[str, Any], setting: int, view: str) -> dict[str, str]:
    return {
        "encoder": str(report.get("made_by", {}).get("encoder", "")),
        "layer": "",
        "transforms": "",
        "segmenter": "",
        "regions": report["settings"][setting]["spec"],
        "view": view,
    }


def output_panel(folder: Path, number: int) -> dict[str, Any]:
    """The regions of one view of one region spec, with their names.

    Raises:
        KeyError: If there is no such panel.
        BrokenOutput: If the file of its regions cannot be read.
    """
    report = read_output(folder)
    places = _places(folder, report)
    if not 0 <= number < len(places):
        raise KeyError(number)
    setting, view, names = places[number]
    entry = report["settings"][setting]
    frame, regions, rows = _views(folder, entry["spec"])[view]
    return {
        **_label(report, setting, names[view]),
        **view_data(frame, regions.grid),
        "fixed": fixed_data(regions),
        "names": [label_of(row) for row in rows],
        "tokens": "one",
        "counted": entry.get("tokens") if len(names) == 1 else None,  # it counts all views
        "follows": False,
        "classes": False,
        "truth": [],
        "masks": None,
    }


def _places(folder: Path, report: dict[str, Any]) -> list[tuple[int, int, list[str]]]:
    """The setting and the view of each panel, and the names of that setting's views."""
    return [
        (setting, view, names)
        for setting, entry in enumerate(report["settings"])
        for names in [view_names(_count_views(folder, entry["spec"]))]
        for view in range(len(names))
    ]


def _count_views(folder: Path, spec: str) -> int:
    """How many views a spec has; one where its file cannot be read, as its panel then says."""
    try:
        return len(_views(folder, spec))
    except BrokenOutput:
        return 1


def _views(folder: Path, spec: str) -> list[tuple[Frame, Regions, list[dict[str, Any]]]]:
    file = folder / spec_names(spec)[1]
    try:
        return views_of(parse_json(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenOutput(f"{folder.name}: {file.name} cannot be read ({error})") from None

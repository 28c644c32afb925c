"""The folder that `tokenize` wrote for one image, as the page gets it: a panel a region spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.jobs.tokenize.names import spec_names
from regiontok.jobs.tokenize.report import is_report, read_report
from regiontok.jobs.tokenize.tables import label_of, views_of
from regiontok.system.errors import RegiontokError
from regiontok.system.strict_json import parse_json
from regiontok.view.panels import view_data
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


def output_labels(report: dict[str, Any]) -> list[dict[str, str]]:
    """What is written above each panel."""
    encoder = str(report.get("made_by", {}).get("encoder", ""))
    return [
        {"encoder": encoder, "layer": "", "transforms": "", "segmenter": "", "regions": spec}
        for spec in (entry["spec"] for entry in report["settings"])
    ]


def output_panel(folder: Path, number: int) -> dict[str, Any]:
    """The regions of one region spec, with their names; of several views, the base view's.

    Raises:
        BrokenOutput: If the file of its regions cannot be read.
    """
    report = read_output(folder)
    label = output_labels(report)[number]
    file = folder / spec_names(label["regions"])[1]
    try:
        frame, regions, rows = views_of(parse_json(file.read_text(encoding="utf-8")))[0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenOutput(f"{folder.name}: {file.name} cannot be read ({error})") from None
    return {
        **label,
        **view_data(frame, regions.grid),
        "fixed": fixed_data(regions),
        "names": [label_of(row) for row in rows],
        "tokens": "one",
        "counted": report["settings"][number].get("tokens"),
        "follows": False,
        "classes": False,
        "truth": [],
        "masks": None,
    }

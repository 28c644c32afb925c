"""The folder that `tokenize` writes for one image: tokens, regions, a drawing, and a report.

The report is written last, and says what files there are: what it does not list does not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from regiontok.core.tokens import Tokens
from regiontok.draw.sheet import save_image
from regiontok.jobs.tokenize.earlier import OtherOutput, Task, Wanted, file_entry
from regiontok.jobs.tokenize.names import VIDEO, slug, spec_names
from regiontok.jobs.tokenize.report import REPORT
from regiontok.system.files import adding, clear_name_errors
from regiontok.system.strict_json import json_bytes, parse_json
from regiontok.system.tensor_files import save_file

Table = dict[str, Any]  # the regions of one spec, see `regiontok.jobs.tokenize.tables`


@dataclass(frozen=True, eq=False)
class SpecOutput:
    """What is written for one region spec of one image.

    Attributes:
        tokens: its tokens.
        table: its regions, see `regiontok.jobs.tokenize.tables`.
        entry: its counts and times, see `regiontok.jobs.tokenize.report`.
    """

    tokens: Tokens
    table: Table
    entry: dict[str, Any]


def write_output(
    folder: Path,
    task: Task,
    wanted: Wanted,
    head: Mapping[str, Any],
    outputs: Sequence[SpecOutput],
    draw: Callable[[Sequence[Table], Mapping[str, Any]], Image.Image],
    animate: Callable[[Sequence[Table], Path], None] | None = None,
) -> dict[str, Any]:
    """Write what was made of one image beside what stands in its folder.

    Args:
        folder: the folder of this image.
        task: what was to be made.
        wanted: what the run wants of each image.
        head: the image, its key and its sizes, as the report has them.
        outputs: one for each spec of the task.
        draw: draws the tables of all specs in the folder; it gets the report as well.
        animate: writes them as a video to a path; None for a picture that does not move.

    Returns:
        What `report.json` holds.

    Raises:
        OtherOutput: If a file stands where a folder must be, or the other way round.
        UnwritableName: If the file system does not take the folder's name.
    """
    report = _joined_report(task, wanted, head, outputs)
    try:
        with (
            clear_name_errors(folder),
            adding(folder, last=REPORT, stale=_stale_files(task, wanted)) as staging,
        ):
            for output in outputs:
                _write_spec(staging, output, head["key"], wanted)
            if task.draw:
                tables = _tables_of(folder, report, outputs)
                save_image(draw(tables, report), staging / wanted.drawing)
                if animate:
                    animate(tables, staging / VIDEO)
                report["drawn"] = [table["spec"] for table in tables]
            report["files"] |= {path.name: file_entry(path) for path in sorted(staging.iterdir())}
            (staging / REPORT).write_bytes(json_bytes(report))
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        obstacle = error.filename2 or error.filename
        raise OtherOutput(
            f"{head['image']}: {obstacle} is in the way of its output; choose another --out"
        ) from None
    return report


def _write_spec(staging: Path, output: SpecOutput, key: str, wanted: Wanted) -> None:
    """Write the two files of a spec; each says what made it."""
    spec = output.table["spec"]
    tokens_name, regions_name = spec_names(spec)
    provenance = {"key": key, **wanted.shared, **wanted.by_spec[spec]}
    text = json.dumps(provenance, ensure_ascii=False, sort_keys=True)
    tensors = output.tokens.to("cpu").to_tensors()
    save_file(tensors, staging / tokens_name, metadata={"regiontok": text})
    (staging / regions_name).write_bytes(json_bytes({**output.table, "made_by": provenance}))


def _joined_report(
    task: Task, wanted: Wanted, head: Mapping[str, Any], outputs: Sequence[SpecOutput]
) -> dict[str, Any]:
    """The report that stands, with the entries of what was made now."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in task.report.get("settings", ()):
        entries[slug(entry["spec"])] = entry
    for output in outputs:
        spec = output.table["spec"]
        entries[slug(spec)] = {
            **output.entry,
            "file": slug(spec),
            "extras": sorted(wanted.extras),
            "made_by": dict(wanted.by_spec[spec]),
        }
    return {
        **head,
        "made_by": dict(wanted.shared),
        "settings": list(entries.values()),
        "drawn": task.report.get("drawn", []),
        "files": {
            name: entry
            for name, entry in task.report.get("files", {}).items()
            if name not in _stale_files(task, wanted)
        },
    }


def _stale_files(task: Task, wanted: Wanted) -> tuple[str, ...]:
    """Files that are removed: those of another output, and a picture in another format."""
    drawings = [
        name
        for name in task.report.get("files", {})
        if task.draw and Path(name).stem == Path(wanted.drawing).stem and name != wanted.drawing
    ]
    return (*task.stale, *drawings)


def _tables_of(
    folder: Path, report: Mapping[str, Any], outputs: Sequence[SpecOutput]
) -> list[Table]:
    """The tables of all specs of a report: those that were made now, and those on disk."""
    by_spec = {output.table["spec"]: output.table for output in outputs}
    tables = []
    for entry in report["settings"]:
        spec = entry["spec"]
        if spec not in by_spec:
            try:
                by_spec[spec] = parse_json((folder / spec_names(spec)[1]).read_text("utf-8"))
            except (OSError, ValueError):
                continue  # it was damaged meanwhile: the next run that wants it makes it anew
        tables.append(by_spec[spec])
    return tables

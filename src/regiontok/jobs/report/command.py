"""`regiontok report`: runs scored and laid beside the papers' figures, in four forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from regiontok.evaluation.bench import Reading
from regiontok.evaluation.scoring import RESAMPLES
from regiontok.jobs.report.page import page
from regiontok.jobs.report.rows import ReportTable
from regiontok.jobs.report.runs import ScoredRun, score_run
from regiontok.jobs.report.texts import (
    comma_separated,
    costs_comma_separated,
    latex,
    markdown,
)
from regiontok.system.files import adding

FILES = {
    "report.md": markdown,
    "report.csv": comma_separated,
    "costs.csv": costs_comma_separated,
    "report.tex": latex,
    "report.html": page,
}


def scored_runs(
    texts: Sequence[str],
    *,
    reading: Reading = "official",
    resamples: int = RESAMPLES,
    tick: Callable[[], None] = lambda: None,
) -> list[ScoredRun]:
    """Score the runs that a command line names.

    Args:
        texts: folders of runs, folders of such folders, or ``NAME=FOLDER``.
        reading, resamples: see `score_run`.
        tick: called with each run.

    Raises:
        ValueError: If a folder holds no run.
    """
    scored = []
    for text in texts:
        name, folder = named_folder(text)
        for path in run_folders(folder):
            scored_run = score_run(path, reading=reading, resamples=resamples)
            if name:
                run = replace(scored_run.run, head={**scored_run.run.head, "name": name})
                scored_run = replace(scored_run, run=run)
            scored.append(scored_run)
            tick()
    return scored


def named_folder(text: str) -> tuple[str, Path]:
    """The name and the folder of ``NAME=FOLDER``; a folder alone has no name.

    >>> named_folder("ours=answers/pope/clip")[0], named_folder("answers")[0]
    ('ours', '')
    """
    name, equals, folder = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text).expanduser()
    return name, Path(folder).expanduser()


def run_folders(path: Path) -> list[Path]:
    """The folders of runs at a path: itself, or those below it.

    Raises:
        ValueError: If there are none.
    """
    if path.is_file() or any(path.glob("answers*.jsonl")):
        return [path]
    folders = sorted({file.parent for file in path.rglob("answers*.jsonl")})
    if not folders:
        raise ValueError(f"{path} holds no answers: give folders of `regiontok answer`")
    return folders


def write_report(table: ReportTable, out: Path) -> list[Path]:
    """Write a report's files into a folder; those of an earlier report are replaced."""
    with adding(out, last="report.html") as temporary:
        for name, make in FILES.items():
            (temporary / name).write_text(make(table), encoding="utf-8")
    return [out / name for name in FILES]

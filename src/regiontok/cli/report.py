"""`regiontok report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import Out
from regiontok.cli.score import Anyway, Reading, Resamples
from regiontok.cli.terminal import clear_errors, closing_json, look_at, say_lines


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders that `regiontok answer` wrote, folders of such folders, or NAME=FOLDER."
        ),
    ],
    table: Annotated[
        str,
        typer.Option(help="Lay them beside a table of a paper, such as study/1 or og_llava/3."),
    ] = "",
    reading: Reading = "official",
    resamples: Resamples = 1000,
    every: Annotated[
        bool, typer.Option("--all", help="Every score of a benchmark, not its headline alone.")
    ] = False,
    focus: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of `regiontok focus`, whose models of the rows' names lend them their "
            "focus; may be given again."
        ),
    ] = None,
    anyway: Anyway = False,
    out: Out = Path("report"),
) -> None:
    """Lay scores side by side and beside the papers' figures: Markdown, CSV, LaTeX and a page.

    The page needs no network; its table can be sorted and filtered, and plots show score against
    visual tokens. Runs of one name are one row. A row stands behind the printed row of the recipe
    that trained its model, or of the recipe that NAME names.

    Examples:

    `regiontok report answers/ --table study/1`

    `regiontok report table1_clip_patch=answers/pope/clip table1_clip_cluster_rms=answers/pope/ours
    --table study/1 --out report`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.evaluation.bench import reading_of
        from regiontok.jobs.report.command import scored_runs, write_report
        from regiontok.jobs.report.models import focus_of
        from regiontok.jobs.report.published import published_rows
        from regiontok.jobs.report.table import report_table
        from regiontok.jobs.report.texts import markdown

        read_as = reading_of(reading)
        if table:
            published_rows(table)  # before the work, not after it
        focus_by_name = focus_of(focus or ())
        with counting("runs", None) as tick:
            scored = scored_runs(runs, reading=read_as, resamples=resamples, tick=tick)
        laid_out = report_table(
            scored, table=table, anyway=anyway, all_scores=every, focus=focus_by_name
        )
        files = write_report(laid_out, out)
        say_lines(markdown(laid_out))
        look_at(files[-1])
        closing_json(
            {"command": "report", **laid_out.report(), "files": [str(path) for path in files]}
        )

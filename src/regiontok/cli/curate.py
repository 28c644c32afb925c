"""`regiontok curate`: from raw images in tars to what pretraining reads, resumable at any piece."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.options import command_group, group_with_default, with_json
from regiontok.cli.terminal import clear_errors, closing_json, print_tables, say, warn

curate_app = command_group(
    "Choose images for pretraining: `regiontok curate PLAN --out FOLDER`, again after any stop.",
    cls=group_with_default("run"),
)


@curate_app.command("run")
@with_json
def curate_run(
    plan: Annotated[Path, typer.Argument(help="TOML file that says which images, and how.")],
    out: Annotated[Path, typer.Option(help="Folder of what is found out; tars stay as they are.")],
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that work, one thread each; 0: this one.")
    ] = 0,
) -> None:
    """Filter images and find near-duplicates among them; run it again after any stop.

    Small and corrupt images and all but the first of near-duplicates are set aside, with reasons.
    A piece that cannot be done is named (exit status 1), and the others are done.

    The plan is a TOML file, whose paths begin where it lies:

        images = ["laion"]

        [filter]
        shorter_edge = 336

    Example: `regiontok curate plan.toml --out curated --workers 8`
    """
    with clear_errors():
        from regiontok.cli.progress import tally
        from regiontok.cli.tables import set_aside_tables
        from regiontok.jobs.curate import begin

        job = begin(plan, out)
        if text := job.warning():
            warn(text)
        count = tally(
            job.run(workers),
            total=job.pieces,
            name=lambda piece: piece.name,
            go_on="the same command goes on",
            unit="pieces",
        )
        failed = count.failed + [
            {"image": Path(tar).stem, "error": reason} for tar, reason in job.curation.unreadable
        ]
        print_tables(set_aside_tables(failed))
        if not count.failed:
            job.keep()
        _show(job.status())
        closing_json({"command": "curate", "out": str(out), "failed": failed, **job.status()})
    raise typer.Exit(1 if failed else 0)


@curate_app.command("status")
@with_json
def curate_status(
    out: Annotated[Path, typer.Argument(help="Folder of a curation.")],
) -> None:
    """Say how far a curation is, also while it runs.

    Example: `regiontok curate status curated`
    """
    with clear_errors():
        from regiontok.jobs.curate import job_in

        status = job_in(out).status()
        _show(status)
        closing_json({"command": "curate status", "out": str(out), **status})


def _show(status: dict[str, Any]) -> None:
    for stage in status["stages"]:
        reasons = ", ".join(f"{number} {word}" for word, number in stage["set_aside"].items())
        left = f", about {stage['seconds_left']:.0f} s of one process left"
        say(
            f"{stage['name']}: {stage['tars']} of {stage['of_tars']} tars, {stage['images']} of "
            f"{stage['of_images']} images{left if stage['tars'] < stage['of_tars'] else ''}"
            + (f"; {reasons}" if reasons else "")
        )
    if keep := status["keep"]:
        reasons = ", ".join(f"{number} {word}" for word, number in keep["set_aside"].items())
        say(f"{keep['kept']} of {keep['images']} images stay" + (f"; {reasons}" if reasons else ""))

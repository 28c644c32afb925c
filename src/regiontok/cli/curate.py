"""`regiontok curate`: from raw images in tars to what pretraining reads, resumable at any piece."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli.options import DryRun, command_group, group_with_default, with_json
from regiontok.cli.pieces import EngineName, EngineOption, RayAddress, Where, stage_line
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    look_at,
    note,
    print_tables,
    say,
    stderr,
    warn,
)

if TYPE_CHECKING:
    from regiontok.curate.cluster import ClusterProgress
    from regiontok.curate.engines.engine import Engine
    from regiontok.curate.steps import BarrierStep
    from regiontok.jobs.curate import CurationJob

curate_app = command_group(
    "Choose images for pretraining: `regiontok curate PLAN --out FOLDER`, again after any stop.",
    cls=group_with_default("run"),
)


@curate_app.command("run")
@with_json
def curate_run(
    plan: Annotated[Path, typer.Argument(help="TOML file that says which images, and how.")],
    out: Annotated[Path, typer.Option(help="Folder of what is found out, apart from images.")],
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that work, one thread each; 0: this one.")
    ] = 0,
    engine: EngineOption = EngineName.local,
    ray_address: RayAddress = "",
    only: Annotated[str, typer.Option(help="The only stage that is done.")] = "",
    until: Annotated[str, typer.Option(help="The last stage that is done.")] = "",
    without_failed: Annotated[
        bool,
        typer.Option(
            "--without-failed",
            help="Go on without the tars of pieces that cannot be done; status and report name "
            "them, and a run without this option tries them again.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make a pretraining set of raw images; run it again after any stop, or with a changed plan.

    Stages: filter, keep (duplicates), propose (regions), embed, cluster, label, ocr, assemble. A
    stage whose settings have changed is done anew, and all that comes after it. A piece that cannot
    be done is named (exit status 1), the others of its stage are done, and no later stage begins,
    but with --without-failed.

    The plan is a TOML file, whose paths begin where it lies:

        images = ["laion"]

        [cluster]
        k = 10_000

    Examples:

    `regiontok curate plan.toml --out curated --workers 8`

    `regiontok curate plan.toml --out curated --until keep`

    `regiontok curate plan.toml --out curated --dry-run`

    `regiontok curate plan.toml --out /shared/curated --engine ray --ray-address auto`
    """
    with clear_errors():
        from regiontok.cli.tables import set_aside_tables
        from regiontok.jobs.curate import begin

        job = begin(plan, out, without_failed=without_failed)
        if text := job.warning():
            warn(text)
        if dry_run:
            stages = job.todo(only=only, until=until)
            _show_todo(stages)
            closing_json({"command": "curate", "out": str(out), "dry_run": True, "stages": stages})
            return
        failed = [
            {"image": Path(tar).stem, "error": reason} for tar, reason in job.curation.unreadable
        ]
        with Where(engine, workers, ray_address).started() as pieces_engine:
            failed += _do(
                job,
                pieces_engine,
                workers=workers,
                only=only,
                until=until,
                without_failed=without_failed,
            )
        print_tables(set_aside_tables(failed))
        status = job.status()
        _show(status)
        closing_json({"command": "curate", "out": str(out), "failed": failed, **status})
    raise typer.Exit(1 if failed else 0)


def _do(
    job: CurationJob,
    engine: Engine | None,
    *,
    workers: int,
    only: str,
    until: str,
    without_failed: bool,
) -> list[dict[str, str]]:
    """Do the stages one after the other; gives the pieces that cannot be done.

    Behind a stage with such pieces none begins, unless it goes on without their tars.
    """
    from regiontok.cli.progress import tally
    from regiontok.curate.steps import BarrierStep

    failed = []
    for step in job.steps(only=only, until=until, without_failed=without_failed):
        if isinstance(step, BarrierStep):
            _look_at_all(step, workers)
            continue
        count = tally(
            job.run(step, workers=workers, engine=engine, without_failed=without_failed),
            total=len(step.missing),
            name=lambda piece: f"{piece.name} ({piece.stage})",
            go_on="the same command goes on",
            unit=f"pieces of {step.name}",
        )
        failed += count.failed
        if failed and not without_failed:
            warn(
                f"{len(failed)} pieces of {step.name} cannot be done, and no later stage begins: "
                "mend them and start again, or go on without their tars by --without-failed"
            )
            break
    return failed


def _look_at_all(step: BarrierStep, workers: int) -> None:
    """Do a stage that looks at all tars at once, on a bar where it says how far it is."""
    from regiontok.cli.progress import LogLines, progress

    if step.is_done:
        return
    note(f"{step.name}: looks at all images at once")
    with progress(stderr()) as bar:
        task, log_lines = bar.add_task(step.name, total=None), LogLines(bar.console, None)

        def tell(state: ClusterProgress) -> None:
            bar.update(task, total=state.total, completed=state.done)
            log_lines.total = state.total
            log_lines.tell(f"{step.name}: iteration {state.iteration} of {state.of}", state.done)

        step.run(workers, tell)


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


@curate_app.command("verify")
@with_json
def curate_verify(
    out: Annotated[Path, typer.Argument(help="Folder of a curation.")],
) -> None:
    """Read every file of a curation: is each whole, of these settings, and is no image lost?

    What is not done yet is listed, too; exit status 1 if anything is.

    Example: `regiontok curate verify curated`
    """
    with clear_errors():
        from regiontok.jobs.curate import job_in

        job = job_in(out)
        findings = [asdict(finding) for finding in job.verify()]
        for finding in findings:
            say(f"{finding['file']}: {finding['problem']}")
        left_out = [asdict(tar) for tar in job.left_out]
        for tar in left_out:
            say(_left_out_line(tar))
        without = f", without {len(left_out)} tars that are left out" if left_out else ""
        verdict = f"{len(findings)} findings" if findings else "all is whole and done"
        say(f"{out}: {verdict}{without}")
        closing_json(
            {
                "command": "curate verify",
                "out": str(out),
                "findings": findings,
                "left_out": left_out,
            }
        )
    raise typer.Exit(1 if findings else 0)


@curate_app.command("report")
@with_json
def curate_report(
    out: Annotated[Path, typer.Argument(help="Folder of a curation.")],
    html: Annotated[Path, typer.Option(help="The page.")] = Path("curation.html"),
    crops: Annotated[int, typer.Option(min=1, help="Sample crops of a cluster.")] = 8,
) -> None:
    """Write one page of what a curation has found: regions, clusters, text, and what was left out.

    Example: `regiontok curate report curated --html curated.html`
    """
    with clear_errors():
        from regiontok.jobs.curate import job_in
        from regiontok.jobs.curation_report.write import write_report

        summary = write_report(job_in(out), html, crops=crops)
        look_at(html)
        closing_json({"command": "curate report", "out": str(out), "html": str(html), **summary})


def _show(status: dict[str, Any]) -> None:
    for stage in status["stages"]:
        say(_line(stage))
    for tar in status["left_out"]:
        say(_left_out_line(tar))
    if all(stage["state"] == "done" for stage in status["stages"]):
        sources = ", ".join(
            f"{{shards='{source['shards']}', sidecars='{source['sidecars']}'}}"
            for source in status["data"]
        )
        classes = status["centroids"]["k"]
        say(
            f'regiontok pretrain rice/pretrain_b16 "pretrain.data=[{sources}]" '
            f"pretrain.object.classes={classes} --out run"
        )


def _left_out_line(tar: dict[str, Any]) -> str:
    return f"left out: {tar['tar']} from {tar['stage']} on ({tar['reason']})"


def _line(stage: dict[str, Any]) -> str:
    """How far a stage is, in words."""
    name = stage["name"]
    if "tars" not in stage:
        return f"{name}: {stage.get('words') or stage['state']}"
    return stage_line(stage)


def _show_todo(stages: list[dict[str, Any]]) -> None:
    for stage in stages:
        line = f"{stage['name']}: {stage['state']}"
        if todo := stage.get("todo"):
            line += f"; to do: pieces {todo['pieces']}, images {todo['images']}"
            if stage["seconds_left"] is not None:
                line += f", about {stage['seconds_left']:.0f} s of one process"
        say(line)

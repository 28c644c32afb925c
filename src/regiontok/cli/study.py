"""`regiontok study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli import completion
from regiontok.cli.options import Device, DryRun, Resume
from regiontok.cli.terminal import clear_errors, closing_json, look_at, note, say
from regiontok.system.interrupt import Terminated, exit_status

QUICK, FULL = "quick", "full"


def study(
    plan: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.words((QUICK, FULL)),
            help="A plan that comes with the package (quick, full), or a TOML file.",
        ),
    ] = FULL,
    quick: Annotated[
        bool, typer.Option("--quick", help="The plan quick: fewer settings, from a shipped model.")
    ] = False,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Train every setting from random weights, by its recipe's stages: hours each.",
        ),
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, help="Trainings of each setting; 0: what the plan says.")
    ] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this setting; may be given several times."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("study"),
    resume: Resume = False,
    device: Device = "cpu",
    dry_run: DryRun = False,
) -> None:
    """Train and ask the settings of the papers' findings on the generated world, with error bars.

    Each setting is trained with several seeds and asked about the test split. Tables have means
    over seeds with 95 % intervals, beside what the papers say; `study.html` shows them with plots.
    A stopped study goes on with --resume; its tables are then of what is done.

    Examples:

    `regiontok study --quick`

    `regiontok study full --seeds 3 --out study --resume`

    `regiontok study my_plan.toml --dry-run`
    """
    with clear_errors("what was trained and answered is kept; go on with --resume"):
        from regiontok.cli.progress import counting
        from regiontok.cli.study_tables import outcome_tables, plan_table
        from regiontok.cli.terminal import print_tables
        from regiontok.jobs.study import page
        from regiontok.jobs.study.plan import load_plan
        from regiontok.jobs.study.run import (
            Outcome,
            StudyOptions,
            check_only,
            outcomes_of,
            steps_of,
        )
        from regiontok.jobs.study.tables import study_tables
        from regiontok.system.devices import resolve_device
        from regiontok.system.need import need

        resolve_device(device)
        loaded = load_plan(QUICK if quick else plan).with_seeds(seeds)
        loaded = loaded.from_scratch() if from_scratch else loaded
        options = StudyOptions(device=device, only=tuple(only or ()))
        check_only(loaded, options)
        steps = list(steps_of(loaded, options))
        if dry_run:
            print_tables([plan_table(loaded, options)])
            closing_json({"command": "study", "plan": loaded.name, "runs": len(steps)})
            return
        need("matplotlib.figure", extra="plot")  # before the work, not after it
        outcomes: list[Outcome] = []
        stop: BaseException | None = None
        with counting("models", len(steps)) as tick:
            try:
                for outcome in outcomes_of(loaded, out, options, resume=resume):
                    outcomes.append(outcome)
                    note(f"{outcome.setting}, seed {outcome.seed}: {outcome.mean:.1f} %")
                    tick()
            except (KeyboardInterrupt, Terminated) as error:
                stop = error
        tables = study_tables(loaded, outcomes)
        if tables:
            files = page.write_study(loaded, tables, out)
            print_tables(outcome_tables(tables))
            look_at(files[-1])
        closing_json(
            {
                "command": "study",
                "plan": loaded.name,
                "out": str(out),
                "runs": len(outcomes),
                "of": len(steps),
                "findings": [table.report() for table in tables],
            }
        )
        if stop:
            say(f"stopped: {len(outcomes)} of {len(steps)} are done; go on with --resume")
            raise typer.Exit(exit_status(stop))

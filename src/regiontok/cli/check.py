"""`regiontok check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.options import Device
from regiontok.cli.terminal import clear_errors, closing_json, print_tables


def check(
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Also hold checkpoints against their published outputs."),
    ] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            envvar="REGIONTOK_DATA", help="With --weights: folder below which the photos lie."
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="With --weights: folder of local checkpoints, ORG/NAME or NAME."),
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="With --weights: fetch from the hub what is not here."),
    ] = False,
    device: Device = "cpu",
) -> None:
    """Say what works on this machine, and do one small run.

    Versions, devices, extras, encoders, segmenters and caches are looked at. Exit status 1 means
    that something basic is broken, or a checkpoint does not give its published outputs.

    Examples:

    `regiontok check`

    `regiontok check --weights --photos photos/ --download`
    """
    with clear_errors():
        from regiontok.cli.tables import finding_tables
        from regiontok.jobs.check.machine import broken, check_machine, machine_report

        findings = check_machine()
        print_tables(finding_tables(findings))
        report = {"command": "check", **machine_report(findings)}
        bad = bool(broken(findings))
        if weights:
            report["weights"], wrong = _check_weights(
                photos=photos, checkpoints=checkpoints, download=download, device=device
            )
            bad = bad or wrong
        closing_json(report)
    raise typer.Exit(1 if bad else 0)


def _check_weights(**options: Any) -> tuple[list[dict[str, Any]], bool]:
    """Hold checkpoints against their published outputs: the report, and whether any is wrong."""
    from regiontok.cli.progress import counting
    from regiontok.cli.tables import verdict_table
    from regiontok.jobs.check.slices import SLICES
    from regiontok.jobs.check.weights import check_weights, weights_report

    verdicts = []
    with counting("published outputs", len(SLICES)) as tick:
        for verdict in check_weights(SLICES, **options):
            verdicts.append(verdict)
            tick()
    print_tables([verdict_table(verdicts)])
    wrong = any(verdict.state in ("fails", "broken") for verdict in verdicts)
    return weights_report(verdicts), wrong

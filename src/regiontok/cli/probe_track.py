"""`regiontok probe track`: how well frozen features follow a target through a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli import run_flags
from regiontok.cli.options import DryRun, Out, Resume
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables, say, stderr

if TYPE_CHECKING:
    from regiontok.jobs.probe.track import TrackProbe


def probe_track(
    encoders: Annotated[
        list[str], typer.Argument(help="Encoder specs, short names, hub names or folders.")
    ],
    test: Annotated[
        str,
        typer.Option(
            help="Clips to measure on: LAYOUT:FOLDER; layouts are got10k, lasot, trackingnet, "
            "tnl2k and davis."
        ),
    ],
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="Clips to learn from, as --test; may be given several times, each is drawn from "
            "equally often. Without it the heads in --out are measured."
        ),
    ] = None,
    train_split: Annotated[
        str, typer.Option(help="Split of --train: train, val, test or all.")
    ] = "all",
    test_split: Annotated[
        str, typer.Option(help="Split of --test: train, val, test or all.")
    ] = "all",
    settings: Annotated[
        str, typer.Option(help="What is trained: paper300, paper100 (for GOT-10k) or mini.")
    ] = "mini",
    steps: Annotated[
        int, typer.Option(min=0, help="Steps instead of the settings' own; the rate drops at .8.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings of each encoder.")] = 1,
    clips: Annotated[
        int, typer.Option(min=0, help="Clips that are measured, the first ones; 0: all.")
    ] = 0,
    absent: Annotated[
        str,
        typer.Option(help="Frames without the target: out, or missed as in OSTrack's script."),
    ] = "out",
    submission: Annotated[
        str, typer.Option(help="Write OUT/FORM.zip for a server: got10k or trackingnet.")
    ] = "",
    sheet: Annotated[
        Path | None, typer.Option(help="Picture of the first tracks: .png, .jpg or .webp.")
    ] = None,
    batches: Annotated[
        int, typer.Option(min=1, help="Batches of a step, which several processes share.")
    ] = 1,
    out: Out = Path("track-probe"),
    resume: Resume = False,
    dry_run: DryRun = False,
    save_every: run_flags.SaveEvery = 500,
    stop_after: run_flags.StopAfter = None,
    tracker: run_flags.Tracker = "",
    device: run_flags.Device = "auto",
    cache: Annotated[str, typer.Option(help="Folder of frozen features that runs share.")] = "",
) -> None:
    """Train OSTrack's frame on frozen features, and follow targets: success, precision, AO, SR.

    Two transformer blocks and a box head learn, nothing of the encoder. The first box, kept on
    every frame, stands beside each figure; intervals are over clips, or over seeds where there
    are several.

    Examples:

    `regiontok miniworld clips --format got10k --split train --count 40 --size 256`

    `regiontok miniworld held --format got10k --split val --count 12 --size 256`

    `regiontok probe track lite filters --train got10k:clips --test got10k:held --seeds 3`

    `regiontok probe track run/encoder --settings paper100 --train got10k:GOT-10k --train-split
    train --test got10k:GOT-10k --test-split test --submission got10k --batches 4`
    """
    with clear_errors("give the same command with --resume"):
        from regiontok.jobs.probe.track import TrackProbe
        from regiontok.probe.options import ProbeOptions
        from regiontok.probe.track.settings import settings_by_name

        chosen = settings_by_name(settings)
        if steps:
            chosen = chosen.but(steps=steps, drop=max(1, steps * 4 // 5))
        if absent not in ("out", "missed"):
            raise ValueError(f"--absent is out or missed, not {absent!r}")
        probe = TrackProbe(
            encoders=tuple(encoders),
            settings=chosen,
            out=out,
            train_on=tuple(train or ()),
            train_split=train_split,
            test_on=test,
            test_split=test_split,
            clips=clips,
            seeds=tuple(range(seeds)),
            batches=batches,
            absent=absent,  # type: ignore[arg-type]  # checked above
            options=ProbeOptions(
                save_every=save_every,
                stop_after=stop_after,
                tracker=tracker,
                device=device,
                cache=cache,
            ),
            resume=resume,
        )
        if dry_run:
            _print_plan(probe)
            return
        report = _probe(probe, submission, sheet)
    raise typer.Exit(130 if report["interrupted"] else 0)


def _print_plan(probe: TrackProbe) -> None:
    plan = probe.plan()
    for run in plan["runs"]:
        say(f"{run['encoder']}, seed {run['seed']}: {run['folder']}")
    say(f"{plan['pairs']:,} pairs a run, then {plan['test']['frames']:,} frames are looked at")
    closing_json({"command": "probe track", "dry_run": True, **plan})


def _probe(probe: TrackProbe, submission: str, sheet: Path | None) -> dict[str, Any]:
    from regiontok.cli.probe_tables import track_table
    from regiontok.cli.progress import follow, progress
    from regiontok.draw.sheet import save_image
    from regiontok.jobs.probe.track import probe_track
    from regiontok.jobs.probe.track_report import mean_rows
    from regiontok.probe.processes import Processes
    from regiontok.probe.track.strip import track_sheet

    with progress(stderr()) as bar:
        frames = bar.add_task("frames", total=None)
        report, tracks = probe_track(
            probe,
            tell=follow(bar, _line),
            tick=lambda: bar.advance(frames),
            submission=(submission, probe.out / f"{submission}.zip") if submission else None,
        )
    if not Processes.join(probe.options.device).is_first:
        return report
    if sheet and tracks:
        title = f"Tracks, {probe.encoders[0]}"  # the first run's
        save_image(track_sheet(tracks[:_SHEET_ROWS], title=title), sheet)
    for name, reason in report["test"]["set_aside"].items():
        note(f"{name} is set aside: {reason}")
    means = mean_rows(report["rows"])
    if means or report["published"]:
        print_tables([track_table(means, report["published"])])
    if report.get("stopped"):
        note(f"stopped {report['stopped']}")
    closing_json({"command": "probe track", "out": str(probe.out), **report, "means": means})
    return report


_SHEET_ROWS = 4


def _line(entry: dict[str, Any]) -> str:
    """One entry of a run's log as a line for a terminal."""
    if entry["kind"] == "step":
        return f"step {entry['step']}  loss {entry['loss']:.4f}  rate {entry['rate']:.2e}"
    if entry["kind"] == "stage":
        return f"{entry['name']}: {entry['steps']} steps"
    return str(entry.get("text", entry["kind"]))

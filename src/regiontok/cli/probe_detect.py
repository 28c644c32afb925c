"""`regiontok probe detect`: a detector on frozen features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli import completion, run_flags
from regiontok.cli.options import DryRun, Encoder, Out, Resume
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables, say, stderr, warn

if TYPE_CHECKING:
    from rich.table import Table

    from regiontok.jobs.probe.detect import DetectionProbe

_SCHEDULES = ("mini", "1x", "3x", "lsj")


def probe_detect(
    data: Annotated[
        Path,
        typer.Argument(
            help="Annotations in COCO's form to learn from: a file, a folder that holds one, or a "
            "folder with train/ and test/ or valid/ (a Roboflow export)."
        ),
    ],
    test: Annotated[
        Path | None, typer.Option(help="Annotations to score against, likewise.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Where pictures' names begin; without it, beside the annotations."),
    ] = None,
    test_images: Annotated[
        Path | None, typer.Option("--test-images", help="The same for --test.")
    ] = None,
    encoder: Encoder = "lite",
    size: Annotated[
        int, typer.Option(min=0, help="Side of the encoder's canvas in pixels; 0: its own.")
    ] = 0,
    schedule: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words(_SCHEDULES),
            help="mini (small heads, no augmentation, features are cached), detectron2's 1x or "
            "3x, or lsj, ViTDet's large-scale jitter.",
        ),
    ] = "mini",
    steps: Annotated[int, typer.Option(min=0, help="Steps; 0: the schedule's.")] = 0,
    per_step: Annotated[
        int, typer.Option(min=0, help="Pictures of a step; 0: as the schedule says.")
    ] = 0,
    per_device: run_flags.PerDevice = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, each with a seed of its own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Picture of some test pictures: truth above, what was found below."),
    ] = None,
    out: Out = Path("detect"),
    resume: Resume = False,
    dry_run: DryRun = False,
    tracker: run_flags.Tracker = "",
    save_every: run_flags.SaveEvery = 200,
    keep: run_flags.Keep = 2,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read pictures ahead.")] = 0,
    stop_after: run_flags.StopAfter = None,
    device: run_flags.Device = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for frozen features, which several runs can share."),
    ] = None,
) -> None:
    """Train a Cascade Mask R-CNN on an encoder's frozen features, and score boxes and masks.

    The encoder does not learn: what is measured is what its features hold. AP is COCO's, or LVIS's
    where the annotations are LVIS's. Each seed has a folder of its own in --out.

    Several GPUs: `accelerate launch -m regiontok.cli.app probe detect ... --per-device 4`.

    Examples:

    `regiontok miniworld world/train --format coco --split train --count 400`

    `regiontok miniworld world/val --format coco --split val --count 100`

    `regiontok probe detect world/train --test world/val --encoder "lite(size=192)" --seeds 3
    --sheet detections.png`

    `regiontok probe detect instances_train2017.json --images train2017 --test
    instances_val2017.json --test-images val2017 --encoder rice-l --size 1024 --schedule lsj`

    `regiontok probe detect aerial-export --encoder lite --dry-run`
    """
    with clear_errors(go_on="the same command with --resume goes on"):
        from regiontok.jobs.probe.detect import DetectionProbe
        from regiontok.jobs.probe.detect_published import published_beside
        from regiontok.probe.options import ProbeOptions

        options = ProbeOptions(
            save_every=save_every,
            keep=keep,
            workers=workers,
            device=device,
            cache=str(cache or ""),
            stop_after=stop_after,
            tracker=tracker,
        )
        probe = DetectionProbe(
            data=data,
            test=test,
            images=images,
            test_images=test_images,
            encoder=encoder,
            size=size,
            schedule=schedule,
            steps=steps,
            batch=per_step,
            per_device=per_device,
            seed=seed,
            options=options,
        )
        plan = probe.describe()
        if probe.is_first:
            _say_plan(plan)
        if dry_run:
            closing_json({"command": "probe detect", "out": str(out), "dry_run": True, **plan})
            return
        runs: list[dict[str, Any]] = []
        for number in range(seed, seed + seeds):
            run = _run(replace(probe, seed=number), out / f"seed-{number}", resume=resume)
            runs.append({"seed": number, **run})
            if run["stopped"]:
                note(f"stopped: {run['stopped']}")
                break
        whole = [run for run in runs if not run["stopped"]]
        if whole and probe.is_first:
            published = published_beside(probe.test_set.file)
            print_tables([_table(plan["encoder"], whole), *_published_table(published)])
            if sheet:
                _draw(probe, out / f"seed-{whole[0]['seed']}", sheet)
        if probe.is_first:
            closing_json(
                {"command": "probe detect", "out": str(out), "encoder": encoder, "runs": runs}
            )
    raise typer.Exit(130 if runs[-1]["interrupted"] else 0)


def _run(probe: DetectionProbe, out: Path, *, resume: bool) -> dict[str, Any]:
    """Train and score one seed."""
    from regiontok.cli.progress import counting, follow, progress

    with progress(stderr()) as bar:
        result = probe.train(out, resume=resume, tell=follow(bar, _line))
    if result["stopped"] or not probe.is_first:
        return result
    with counting("pictures scored", len(probe.test_set.images)) as tick:
        scores = probe.score(out, tick=tick)
    unreadable = {**probe.batches.unreadable, **scores["unreadable"]}
    for reason in unreadable.values():
        warn(reason)
    return {**result, **scores, "unreadable": unreadable}


def _draw(probe: DetectionProbe, folder: Path, sheet: Path) -> None:
    """Draw what the run in a folder found."""
    from regiontok.draw.sheet import save_image
    from regiontok.probe.detect.sheet import detection_sheet

    test, found = probe.test_set, probe.detections(folder)
    save_image(detection_sheet(test.images, found, test.categories, title="Detection"), sheet)
    note(f"{sheet}: truth and detections")


def _line(entry: dict[str, Any]) -> str:
    """An entry of the log as one line of text."""
    if entry["kind"] == "stage":
        return f"{entry['name']}: {entry['steps']} steps, from step {entry['step']} on"
    if entry["kind"] == "step":
        return f"step {entry['step']}: loss {entry['loss']:.4f}"
    return str(entry["text"])


def _say_plan(plan: dict[str, Any]) -> None:
    grid, canvas = ("{} x {}".format(*plan[name]) for name in ("grid", "canvas"))
    say(
        f"{plan['encoder']}: {grid} patches of {canvas} pixels; {plan['objects']} objects of "
        f"{plan['categories']} categories in {plan['pictures']} pictures, scored on "
        f"{plan['test_pictures']} by the rule of {plan['rule'].upper()}"
    )
    say(
        f"schedule {plan['schedule']}: {plan['steps']} steps of {plan['batch']} pictures, "
        f"augmentation: {plan['augmentation']}; {plan['parameters']:,} parameters learn"
    )
    for reason, count in plan["set_aside"].items():
        warn(f"set aside: {count} {reason}")
    for text in plan["notes"]:
        warn(text)


def _table(encoder: str, runs: list[dict[str, Any]]) -> Table:
    """AP of boxes and masks in %, a row a seed, and the mean with its standard deviation."""
    from statistics import mean, stdev

    from rich.table import Table

    kinds = [kind for kind in ("box", "mask") if kind in runs[0]]
    columns = [(kind, name) for kind in kinds for name in ("AP", "AP50", "AP75")]
    table = Table(title=f"Detection on {encoder}, %", title_justify="left", box=None)
    for head in ("seed", *(f"{kind} {name}" for kind, name in columns)):
        table.add_column(head, justify="right", no_wrap=True)
    rows = [[100 * (run[kind][name] or 0.0) for kind, name in columns] for run in runs]
    for run, row in zip(runs, rows, strict=True):
        table.add_row(str(run["seed"]), *(f"{value:.1f}" for value in row))
    if len(rows) > 1:
        table.add_row(
            "mean",
            *(f"{mean(values):.1f} ± {stdev(values):.1f}" for values in zip(*rows, strict=True)),
        )
    return table


def _published_table(rows: list[dict[str, Any]]) -> list[Table]:
    """A paper's rows about the same test set, whose schedule is not known; no table without any."""
    from rich.table import Table

    if not rows:
        return []
    title = f"{rows[0]['source']} (printed; the schedule is not said), %"
    table = Table(title=title, title_justify="left", box=None)
    for head in ("encoder", "box AP", "mask AP"):
        table.add_column(head, justify="left" if head == "encoder" else "right")
    for row in rows:
        table.add_row(row["row"], f"{row['box']:.1f}", f"{row['mask']:.1f}")
    return [table]

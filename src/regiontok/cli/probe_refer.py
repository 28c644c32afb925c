"""`regiontok probe refer`: how well masks follow from what an expression says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli import completion, run_flags
from regiontok.cli.options import DryRun, Out, RegionSpec, Resume, Segmenter
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables, say, stderr

if TYPE_CHECKING:
    from regiontok.jobs.probe.refer_plan import ReferProbe

_RECIPES = ("mini", "lisa", "mlcd")


def probe_refer(
    encoders: Annotated[
        list[str] | None,
        typer.Argument(help="Encoders of small models: specs, short names, hub names or folders."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words(_RECIPES),
            help="mini (small models on generated scenes), lisa, or mlcd (RICE's authors').",
        ),
    ] = "mini",
    vlm: Annotated[
        Path | None, typer.Option(help="Folder of a trained region VLM in place of small models.")
    ] = None,
    sam: Annotated[str, typer.Option(help="SAM checkpoint of --vlm: hub name or folder.")] = "",
    references: Annotated[
        Path | None,
        typer.Option(
            help="RefCOCO's references: refs(unc).p, or the Hub's Parquet, JSON or JSON lines. "
            "Without it expressions are generated."
        ),
    ] = None,
    instances: Annotated[
        Path | None, typer.Option(help="COCO's instances.json, where references hold no masks.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, where references hold none.")
    ] = None,
    train_split: Annotated[
        str, typer.Option(help="Split of --references to learn from.")
    ] = "train",
    test_split: Annotated[
        str, typer.Option(help="Split of --references to measure: val, test, testA or testB.")
    ] = "val",
    limit: Annotated[
        int, typer.Option(min=0, help="Expressions of --references that are measured; 0: all.")
    ] = 0,
    pictures: Annotated[
        int, typer.Option(min=1, help="Generated pictures to learn from, 8 expressions each.")
    ] = 200,
    test_pictures: Annotated[
        int, typer.Option(min=1, help="Generated pictures to measure, 4 expressions each.")
    ] = 60,
    regions: RegionSpec = "windows(2)",
    segmenter: Segmenter = "",
    steps: Annotated[int, typer.Option(min=0, help="Steps in place of the recipe's own.")] = 0,
    rows: Annotated[
        int, typer.Option(min=0, help="Expressions of a batch in place of the recipe's own.")
    ] = 0,
    batches: Annotated[
        int,
        typer.Option(min=0, help="Batches of a step, which processes share; 0: the recipe's own."),
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings of each encoder.")] = 1,
    sheet: Annotated[
        Path | None, typer.Option(help="Picture of some masks: .png, .jpg or .webp.")
    ] = None,
    out: Out = Path("refer-probe"),
    resume: Resume = False,
    dry_run: DryRun = False,
    save_every: run_flags.SaveEvery = 500,
    stop_after: run_flags.StopAfter = None,
    tracker: run_flags.Tracker = "",
    device: run_flags.Device = "auto",
    cache: Annotated[str, typer.Option(help="Folder of frozen features that runs share.")] = "",
) -> None:
    """Learn to segment what an expression says, and measure cIoU and gIoU.

    A language model reads a picture's tokens and an expression and answers [SEG], whose hidden
    state prompts SAM's mask decoder. Small models look through a frozen encoder alone: SAM's
    decoder reads its features, too. Masks that never look stand beside them; intervals are over
    pictures, or over seeds where there are several.

    Examples:

    `regiontok probe refer lite filters --seeds 3 --sheet masks.png`

    `regiontok probe refer lite --steps 300 --pictures 100 --dry-run`

    `regiontok probe refer --recipe lisa --vlm runs/llava/2_tuning --sam facebook/sam-vit-huge
    --references "refcoco/refs(unc).p" --instances refcoco/instances.json --images train2014`

    `accelerate launch -m regiontok probe refer --recipe mlcd --vlm runs/rice/2_tuning
    --sam facebook/sam-vit-huge --references refcoco.parquet --images coco`
    """
    with clear_errors("give the same command with --resume"):
        from regiontok.jobs.probe.refer_plan import ReferData, ReferProbe
        from regiontok.probe.options import ProbeOptions
        from regiontok.probe.refer.published import PublishedFiles
        from regiontok.probe.refer.recipes import recipe_of

        files = None if references is None else PublishedFiles(references, images, instances)
        probe = ReferProbe(
            encoders=tuple(encoders or ()),
            recipe=recipe_of(recipe).but(
                steps=steps or None, rows=rows or None, batches=batches or None
            ),
            data=ReferData(
                files=files,
                train_split=train_split,
                test_split=test_split,
                limit=limit,
                pictures=pictures,
                test_pictures=test_pictures,
            ),
            out=out,
            regions=regions,
            segmenter=segmenter,
            vlm=vlm,
            sam=sam,
            seeds=tuple(range(seeds)),
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
        report = _probe(probe, sheet)
    if report["interrupted"]:
        raise typer.Exit(130)


def _print_plan(probe: ReferProbe) -> None:
    plan = probe.plan()
    for run in plan["runs"]:
        say(f"{run['encoder']}, seed {run['seed']}: {run['folder']}")
    learning = ", ".join(f"{part} {count:,}" for part, count in plan["learns"].items())
    say(f"{plan['steps']:,} steps of {plan['rows_a_step']} expressions; what learns: {learning}")
    closing_json({"command": "probe refer", "dry_run": True, **plan})


def _probe(probe: ReferProbe, sheet: Path | None) -> dict[str, Any]:
    from regiontok.cli.probe_refer_table import refer_table
    from regiontok.cli.progress import follow, progress
    from regiontok.draw.sheet import save_image
    from regiontok.jobs.probe.refer import mean_rows, probe_refer
    from regiontok.probe.processes import Processes
    from regiontok.probe.refer.sheet import referred_sheet

    with progress(stderr()) as bar:
        task = bar.add_task("expressions measured", total=None)
        report, shown = probe_refer(
            probe, tell=follow(bar, _line), tick=lambda rows: bar.advance(task, rows)
        )
    if not Processes.join(probe.options.device).is_first:
        return report
    if sheet and shown:
        save_image(referred_sheet(shown, title="Referring expressions"), sheet)
    for reason, count in report["test"]["set_aside"].items():
        note(f"{count} references with {reason} are set aside")
    means = mean_rows(report["rows"])
    print_tables([refer_table(means)])
    if report.get("stopped"):
        note(f"stopped {report['stopped']}")
    closing_json({"command": "probe refer", "out": str(probe.out), **report, "means": means})
    return report


def _line(entry: dict[str, Any]) -> str:
    """One entry of a run's log as a line for a terminal."""
    if entry["kind"] == "step":
        parts = "  ".join(f"{name} {entry[name]:.3f}" for name in ("words", "cross", "dice"))
        return f"step {entry['step']}  loss {entry['loss']:.4f}  {parts}"
    if entry["kind"] == "stage":
        return f"{entry['name']}: {entry['steps']} steps"
    return str(entry.get("text", entry["kind"]))

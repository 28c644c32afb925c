"""`regiontok train` and `regiontok pretrain`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli import run_flags
from regiontok.cli.options import DryRun, Out, Overrides, Resume, Scale
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables, say, stderr, warn


def train(
    recipe: run_flags.Recipe,
    overrides: Overrides = None,
    out: Out = Path("run"),
    scale: Scale = "mini",
    resume: Resume = False,
    dry_run: DryRun = False,
    hardware: run_flags.HardwareName = "h100",
    samples: Annotated[
        int, typer.Option(min=1, help="Records that a --dry-run measures for a stage.")
    ] = 256,
    held_out: Annotated[int, typer.Option(min=0, help="Records kept for evaluation.")] = 0,
    evaluate_every: Annotated[
        int, typer.Option(min=0, help="Steps between evaluations; 0: at each stage's end.")
    ] = 0,
    answers: Annotated[
        int, typer.Option(min=0, help="Held-out records that are answered greedily.")
    ] = 64,
    tracker: run_flags.Tracker = "",
    per_device: run_flags.PerDevice = 0,
    save_every: run_flags.SaveEvery = 500,
    keep: run_flags.Keep = 2,
    workers: run_flags.Workers = None,
    stop_after: run_flags.StopAfter = None,
    device: run_flags.Device = "auto",
    shard: run_flags.Shard = False,
    cache: run_flags.Cache = "",
) -> None:
    """Train a recipe's stages.

    Several devices: `accelerate launch --config_file .../regiontok/train/configs/ddp.yaml -m
    regiontok.cli.app train ...`; with --shard fsdp2.yaml or zero3.yaml.

    Examples: `regiontok train train/colour --out run --held-out 60`, `regiontok train train/colour
    --dry-run --hardware h100x4`
    """
    with clear_errors():
        from regiontok.cli.progress import follow, progress
        from regiontok.cli.run_tables import training_line, training_tables, training_warnings
        from regiontok.jobs import train as job
        from regiontok.train.options import TrainOptions

        options = TrainOptions(
            held_out=held_out,
            evaluate_every=evaluate_every,
            answers=answers,
            tracker=tracker,
            per_device=per_device,
            save_every=save_every,
            keep=keep,
            workers=workers,
            stop_after=stop_after,
            device=device,
            shard=shard,
            cache=cache,
        )
        changes = tuple(overrides or ())
        if dry_run:
            plans = job.plan_training(
                recipe,
                scale=scale,
                overrides=changes,
                options=options,
                on=hardware,
                samples=samples,
            )
            for line in training_warnings(plans):
                warn(line)
            _print_plan("train", training_tables(plans, hardware), plans)
            return
        with progress(stderr()) as bar:
            result = job.train(
                recipe,
                out,
                scale=scale,
                overrides=changes,
                options=options,
                resume=resume,
                tell=follow(bar, training_line),
            )
        if _is_first_process():
            _print_result("train", result, out)
    raise typer.Exit(130 if result["interrupted"] else 0)


def pretrain(
    recipe: run_flags.Recipe,
    overrides: Overrides = None,
    out: Out = Path("run"),
    scale: Scale = "mini",
    resume: Resume = False,
    dry_run: DryRun = False,
    hardware: run_flags.HardwareName = "",
    skip: Annotated[
        bool, typer.Option("--skip", help="Pass over damaged shards and images.")
    ] = False,
    gpu_decode: Annotated[
        bool, typer.Option("--gpu-decode", help="Decode JPEGs on the GPU, not in the workers.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(help="Minutes after which a process that waits for others gives up."),
    ] = 30.0,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="Compile each block.")] = False,
    tracker: run_flags.Tracker = "",
    per_device: run_flags.PerDevice = 0,
    save_every: run_flags.SaveEvery = 1000,
    keep: run_flags.Keep = 2,
    workers: run_flags.Workers = None,
    stop_after: run_flags.StopAfter = None,
    device: run_flags.Device = "auto",
    shard: run_flags.Shard = False,
    cache: run_flags.Cache = "",
) -> None:
    """Pretrain a region transformer by cluster discrimination (RICE); also under torchrun.

    Examples: `regiontok pretrain rice/pretrain_b16 --out run`, `regiontok pretrain
    rice/pretrain_l14 --scale paper --dry-run`
    """
    with clear_errors():
        from regiontok.cli.progress import follow, progress
        from regiontok.cli.run_tables import pretraining_line, pretraining_tables
        from regiontok.jobs import pretrain as job
        from regiontok.pretrain.options import PretrainOptions

        options = PretrainOptions(
            skip=skip,
            gpu_decode=gpu_decode,
            timeout=timeout,
            compile_blocks=compile_blocks,
            tracker=tracker,
            per_device=per_device,
            save_every=save_every,
            keep=keep,
            workers=workers,
            stop_after=stop_after,
            device=device,
            shard=shard,
            cache=cache,
        )
        changes = tuple(overrides or ())
        if dry_run:
            # the paper's batches are for many devices, those of the smaller scales for one
            on = hardware or ("h100x64" if scale == "paper" else "h100")
            plans = job.plan_pretraining(
                recipe, scale=scale, overrides=changes, options=options, on=on
            )
            _print_plan("pretrain", pretraining_tables(plans, on), plans)
            return
        with progress(stderr()) as bar:
            result = job.pretrain(
                recipe,
                out,
                scale=scale,
                overrides=changes,
                options=options,
                resume=resume,
                tell=follow(bar, pretraining_line),
            )
        if _is_first_process():
            # the forty numbers of the histogram stand in the log
            summary = {key: value for key, value in result.items() if key != "distances"}
            picture = job.draw_run(out, result["step"])
            _print_result("pretrain", summary, out, curves=picture)
    raise typer.Exit(130 if result["interrupted"] else 0)


def _is_first_process() -> bool:
    """True in the process that says what is said once."""
    return os.environ.get("RANK", "0") == "0"


def _print_plan(command: str, plan_tables: Iterable[Any], plans: Iterable[Any]) -> None:
    """Print a plan as tables and as the closing line of JSON."""
    print_tables(plan_tables)
    stages = [plan.as_dict() for plan in plans]
    for text in dict.fromkeys(text for stage in stages for text in stage.get("assumed", ())):
        say(f"assumed: {text}")
    closing_json({"command": command, "dry_run": True, "stages": stages})


def _print_result(command: str, result: dict[str, Any], out: Path, **more: str) -> None:
    """Say why a run ended early, if it did, and print the closing line of JSON."""
    if result["stopped"]:
        note(f"stopped: {result['stopped']}")
    closing_json({"command": command, **result, "out": str(out), **more})

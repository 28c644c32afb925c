"""`regiontok train` and `regiontok pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.terminal import clear_errors, closing_json, print_tables, stderr


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or path; `regiontok ls recipes`.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, say every_stage.steps=100")
    ] = None,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("run"),
    scale: Annotated[str, typer.Option(help="mini, small or paper.")] = "mini",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what stands in --out.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and stop.")] = False,
    hardware: Annotated[
        str, typer.Option(help="For --dry-run: h100x4, h200, a100x8, rtx4090 ...")
    ] = "h100",
    sharded: Annotated[
        bool, typer.Option("--sharded", help="For --dry-run: FSDP2 or ZeRO-3.")
    ] = False,
    samples: Annotated[
        int, typer.Option(min=1, help="For --dry-run: records measured a stage.")
    ] = 256,
    log: Annotated[str, typer.Option(help="tensorboard, trackio or wandb, beside log.jsonl.")] = "",
    per_device: Annotated[int, typer.Option(min=0, help="Samples of one pass; 0: what fits.")] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 2,
    held_out: Annotated[int, typer.Option(min=0, help="Records kept for evaluation.")] = 0,
    evaluate_every: Annotated[int, typer.Option(min=0, help="Steps; 0: at each stage's end.")] = 0,
    answers: Annotated[int, typer.Option(min=0, help="Held-out records answered greedily.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read records.")] = 0,
    cache: Annotated[str, typer.Option(help="Folder of frozen features.")] = "",
    stop_after: Annotated[
        int | None, typer.Option(min=1, help="Steps of this call, then a checkpoint.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
) -> None:
    """Train a recipe's stages.

    Several devices: `accelerate launch --config_file .../regiontok/train/configs/ddp.yaml -m
    regiontok.cli.app train ...`.

    Examples: `regiontok train train/colour --out run --held-out 60`, `regiontok train train/colour
    --dry-run --hardware h100x4`
    """
    with clear_errors():
        from regiontok.cli.progress import follow, progress
        from regiontok.jobs import train as command
        from regiontok.train.options import Options

        options = Options(
            per_device,
            save_every,
            keep,
            held_out,
            evaluate_every,
            answers,
            workers,
            log,
            cache,
            stop_after,
            device,
        )
        changes = tuple(overrides or ())
        if dry_run:
            plans = command.plan(
                recipe,
                scale=scale,
                overrides=changes,
                options=options,
                on=hardware,
                sharded=sharded,
                samples=samples,
            )
            print_tables(command.results(plans, hardware))
            closing_json(
                {"command": "train", "dry_run": True, "stages": [one.as_dict() for one in plans]}
            )
            return

        with progress(stderr()) as bar:
            found = command.train(
                recipe,
                out,
                scale=scale,
                overrides=changes,
                options=options,
                resume=resume,
                tell=follow(bar, command.show),
            )
        if command.is_first_process():
            if found["stopped"]:
                stderr().print(f"stopped: {found['stopped']}", highlight=False, markup=False)
            closing_json({"command": "train", **found, "out": str(out)})
    raise typer.Exit(130 if found["stopped"] and stop_after is None else 0)


def pretrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or path, say rice/pretrain_b16.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, say pretrain.loss.rho=0.2")
    ] = None,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("run"),
    scale: Annotated[str, typer.Option(help="mini, small or paper.")] = "mini",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what stands in --out.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and stop.")] = False,
    hardware: Annotated[str, typer.Option(help="For --dry-run: h100x64, h200x8 ...")] = "h100x64",
    shard: Annotated[bool, typer.Option("--shard", help="FSDP2 in place of DDP.")] = False,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="Compile each block.")] = False,
    per_device: Annotated[
        int, typer.Option(min=0, help="Images of one pass; 0: all of a device's.")
    ] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    skip: Annotated[
        bool, typer.Option("--skip", help="Pass over damaged shards and images.")
    ] = False,
    stop_after: Annotated[int, typer.Option(min=0, help="Steps of this call; 0: to the end.")] = 0,
    cache: Annotated[str, typer.Option(help="Folder of generated sources.")] = "",
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
) -> None:
    """Pretrain a region transformer by cluster discrimination (RICE); also under torchrun.

    Examples: `regiontok pretrain rice/pretrain_b16 --out run`, `regiontok pretrain
    rice/pretrain_l14 --scale paper --dry-run`
    """
    with clear_errors():
        from regiontok.cli.progress import follow, progress
        from regiontok.jobs import pretrain as command

        changes = tuple(overrides or ())
        if dry_run:
            plans = command.plan(
                recipe, scale=scale, overrides=changes, on=hardware, shard=shard, each=per_device
            )
            print_tables(command.results(plans, hardware))
            closing_json(
                {"command": "pretrain", "dry_run": True, "stages": [one.as_dict() for one in plans]}
            )
            return
        options = command.PretrainOptions(
            per_device,
            save_every,
            keep,
            workers,
            device,
            shard,
            compile_blocks,
            skip,
            stop_after,
            cache,
        )

        with progress(stderr()) as bar:
            tell = follow(bar, command.show)
            found = command.pretrain(
                recipe,
                out,
                scale=scale,
                overrides=changes,
                options=options,
                resume=resume,
                tell=tell,
            )
        if command.is_first_process():
            if found["stopped"]:
                stderr().print(f"stopped: {found['stopped']}", highlight=False, markup=False)
            drawn = command.drawn(out, found["step"])
            found.pop("distances", None)  # forty numbers: they stand in the log
            closing_json({"command": "pretrain", **found, "out": str(out), "curves": drawn})
    raise typer.Exit(130 if found["interrupted"] else 0)

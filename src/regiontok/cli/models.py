"""The commands that train a model or talk with one: train, chat, export, pretrain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.terminal import clear_errors, closing_json, stderr, stdout, tables


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
        from regiontok.jobs import train as command
        from regiontok.jobs.tables import follow, progress
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
            tables(command.results(plans, hardware))
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


def chat(
    model: Annotated[
        str,
        typer.Argument(help="Folder of a trained model, or a released one: hub name or folder."),
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures for the first question.")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(help="Ask this and leave; may repeat. Default: read questions."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="For scripts: one JSON line an answer, nothing else.")
    ] = False,
    regions: Annotated[
        str, typer.Option(help="For a released model: region spec. Default: its own tokens.")
    ] = "",
    segmenter: Annotated[
        str, typer.Option(help="For a released model: segmenter spec, for regions that read masks.")
    ] = "",
    longest: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 256,
    out: Annotated[Path, typer.Option(help="Where /regions draws.")] = Path("chat"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Talk with a model about pictures, and see which regions an answer looked at.

    On a terminal /help lists the commands; Ctrl-C stops an answer. Otherwise standard input holds
    one question a line.

    Examples:

    `regiontok chat run/1_colour photo.jpg`

    `regiontok chat run/1_colour photo.jpg --ask "What is on the table?" --json`

    `regiontok chat llava-hf/llava-1.5-7b-hf photo.jpg --regions "merge(0.7)" --device cuda`
    """
    with clear_errors():
        from regiontok.jobs.chat import command
        from regiontok.jobs.chat.session import open_chat

        session = open_chat(
            model,
            images or (),
            regions=regions,
            segmenter=segmenter,
            longest=longest,
            device=device,
        )
        lines = ask or (
            command.typed_lines(input, command.writer_to(sys.stdout))
            if sys.stdin.isatty() and not json
            else sys.stdin
        )
        if json:
            for report in command.reports(session, lines):
                closing_json(report)
        else:
            desk = command.ChatOutput(
                command.writer_to(sys.stdout), lambda table: stdout().print(table), out
            )
            command.converse(session, lines, desk, strict=bool(ask))
    if ask and session.answers and session.answers[-1].stopped:
        raise typer.Exit(130)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A trained model's folder, or a released LLaVA-1.5 by hub name or folder."
        ),
    ],
    paths: Annotated[
        list[str], typer.Argument(help="Images, folders, globs; - reads a list on standard input.")
    ],
    regions: Annotated[
        str, typer.Option(help="Region spec of an exact number. Default: a trained model's own.")
    ] = "",
    segmenter: Annotated[
        str, typer.Option(help="Segmenter spec, for regions that read masks.")
    ] = "",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens every image must have. Default: as the first.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the written tensors: bfloat16, float16, float32.")
    ] = "bfloat16",
    as_llava: Annotated[
        Path | None,
        typer.Option(
            help="Also write a trained model's language model as a LLaVA checkpoint here."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("tokens"),
    batch: Annotated[int, typer.Option(min=1, help="Images encoded together.")] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Write image tokens of the language model's width, for a server that takes image embeddings
    (vLLM's LLaVA).

    A bad image, or one with another number of tokens, is set aside, named and counted (exit status
    1).

    Example: `regiontok export llava-hf/llava-1.5-7b-hf photos/ --regions "merge(k=144) |
    sort('com')" --out tokens`
    """
    with clear_errors():
        from regiontok.data.collect import collect
        from regiontok.jobs.tables import progress, set_aside
        from regiontok.serve.export import Export, check_dtype
        from regiontok.serve.token_source import open_token_source

        kind = check_dtype(dtype)
        items = collect(paths, sys.stdin)
        run = Export(
            open_token_source(model, regions=regions, segmenter=segmenter, device=device),
            out,
            tokens,
            kind,
            batch,
        )
        with progress(stderr()) as bar:
            task = bar.add_task("images", total=len(items))
            for _ in run.run(items):
                bar.advance(task)
        if as_llava:
            from regiontok.serve.llava import write_llava

            write_llava(model, as_llava, dtype=kind)
        tables(set_aside(run.failed))
        manifest = {key: value for key, value in run.manifest.items() if key != "images"}
        closing_json({"command": "export", "images": len(run.entries), **manifest, "out": str(out)})
    raise typer.Exit(1 if run.failed else 0)


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
        from regiontok.jobs import pretrain as command
        from regiontok.jobs.tables import follow, progress

        changes = tuple(overrides or ())
        if dry_run:
            plans = command.plan(
                recipe, scale=scale, overrides=changes, on=hardware, shard=shard, each=per_device
            )
            tables(command.results(plans, hardware))
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

"""The command line. Heavy packages are imported inside the commands, so that help answers at
once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.diagnose import diagnose
from regiontok.cli.masks import masks_app
from regiontok.cli.migrate import migrate_app
from regiontok.cli.models import chat, export, pretrain, train
from regiontok.cli.terminal import clear_errors, closing_json, stderr, stdout, tables

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Region tokens for vision-language models: photos in, regions and their tokens out.",
)

app.add_typer(masks_app, name="masks")
app.add_typer(migrate_app, name="migrate")

Encoder = Annotated[
    str,
    typer.Option(
        help="Encoder spec, hub name or local folder; `regiontok ls encoders` lists them."
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        help="Region spec such as \"merge(0.5) | sort('com')\"; may repeat. Default: the encoder's own clustering."
    ),
]
Segmenter = Annotated[
    str,
    typer.Option(
        help="Segmenter spec, for regions that read masks: felzenszwalb, slic, stored('masks.json')."
    ),
]
Pool = Annotated[str, typer.Option(help="How a region becomes tokens: mean, attend, select.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("demo"),
    device: Device = "cpu",
) -> None:
    """Cut real photos into regions four ways and draw a contact sheet. Needs no network.

    Example: `regiontok demo --out demo`
    """
    with clear_errors():
        from regiontok.jobs import demo as command
        from regiontok.jobs.tables import progress, results, summary

        with progress(stderr()) as bar:
            task = bar.add_task("photos", total=len(command.PHOTOS))
            reports = command.demo(out, device=device, tick=lambda: bar.advance(task))
        tables(results(reports))
        stdout().print(f"look at [bold]{out / 'contact_sheet.png'}[/bold]")
        closing_json(
            {
                "command": "demo",
                "images": len(reports),
                "settings": summary(reports),
                "out": str(out),
            }
        )


@app.command()
def tokenize(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, videos, folders, globs; - reads a list on standard input."),
    ],
    encoder: Encoder = "lite",
    regions: Regions = None,
    segmenter: Segmenter = "",
    pool: Pool = "mean",
    out: Annotated[Path, typer.Option(help="Output folder: one folder an image.")] = Path("out"),
    clip: Annotated[
        bool,
        typer.Option(
            "--clip", help="Every path is one clip: a video, an animation, or a folder of frames."
        ),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Clips: frames a second to take. Default: all.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Clips: frames a second that a folder of frames holds.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Clips: more frames than this are an error.")
    ] = 256,
    keep_cut: Annotated[
        bool, typer.Option("--keep-cut", help="Clips: of a video cut off, take the whole frames.")
    ] = False,
    norm: Annotated[
        str, typer.Option(help="Normalise features before pooling: none or rms.")
    ] = "none",
    whole: Annotated[
        bool, typer.Option("--whole", help="A token of the whole image in front.")
    ] = False,
    cls: Annotated[
        bool, typer.Option("--cls", help="The encoder's CLS or summary tokens in front.")
    ] = False,
    padding: Annotated[
        str, typer.Option(help="Patches that see only padding: drop or keep.")
    ] = "drop",
    tiles: Annotated[
        str,
        typer.Option(help="Also encode the image in tiles: 2x2, 1x2,2x1,2x2, anyres, anyres(6)."),
    ] = "",
    cut: Annotated[
        str,
        typer.Option(
            help="Regions of the tiles stitched to one grid, or of each tile: stitched, tile."
        ),
    ] = "stitched",
    name: Annotated[
        bool,
        typer.Option("--name", help="Say what the encoder's own classifier sees in each region."),
    ] = False,
    rle: Annotated[
        bool, typer.Option("--rle", help="Also write each region's pixels as COCO run lengths.")
    ] = False,
    picture: Annotated[bool, typer.Option(help="Draw the regions of each image.")] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip images that were done with the same settings.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images encoded together.")] = 8,
    device: Device = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
) -> None:
    """Turn images into region tokens, with a picture and a table.

    A bad image is set aside, named and counted (exit status 1); the others are done.

    Examples:

    `regiontok tokenize photo.jpg --name`

    `regiontok tokenize photos/ --regions patches --regions "merge(k=64) | sort('com')" --out tokens
    --resume`

    `regiontok tokenize clip.mp4 --fps 4`, `regiontok tokenize frames/ --clip --rate 24 --fps 4`

    `ls photos/*.jpg | regiontok tokenize - --segmenter felzenszwalb --regions "segments(0.07) |
    cover('rest') | sort('com')"`
    """
    with clear_errors():
        from regiontok.data.collect import collect
        from regiontok.jobs.tokenize.clips import Sampling, divide, tokenize_clips
        from regiontok.settings.recipe import TokenizerSettings

        clips, rest = divide(paths, clips=clip, stdin=sys.stdin)
        items = collect(rest, sys.stdin) if rest or not clips else []
        words = {
            "encoder": encoder,
            "segmenter": segmenter,
            "pool": pool,
            "norm": norm,
            "padding": padding,
        }
        settings = TokenizerSettings.model_validate(
            {**words, "tiles": tiles, "cut": cut, "whole": whole, "cls": cls}
        )
        from regiontok.jobs.tokenize.images import Job
        from regiontok.jobs.tokenize.images import tokenize as run

        job = Job(settings, regions or [], name=name, device=device)
        if dry_run:
            _plan([*clips, *items], job.specs, out)
            return
        write: dict[str, bool] = {"resume": resume, "rle": rle, "picture": picture}
        films = tokenize_clips(
            job, clips, out, Sampling(fps, rate, most, "keep" if keep_cut else "error"), **write
        )
        failed = _watch(
            chain(films, run(job, items, out, batch=batch, **write)), len(clips) + len(items), out
        )
    raise typer.Exit(1 if failed else 0)


def _plan(items: list[Any], specs: list[str], out: Path) -> None:
    for item in items[:20]:
        stdout().print(f"{item.path} -> {out / item.name}", highlight=False)
    if len(items) > 20:
        stdout().print(f"... and {len(items) - 20} more")
    closing_json(
        {
            "command": "tokenize",
            "dry_run": True,
            "images": len(items),
            "specs": specs,
            "out": str(out),
        }
    )


def _watch(done: Iterator[Any], total: int, out: Path) -> int:
    """Show progress, then the tables; return how many images were set aside."""
    from regiontok.jobs.tables import progress, results, set_aside, summary

    reports, failed, resumed = [], [], 0
    try:
        with progress(stderr()) as bar:
            task = bar.add_task("images", total=total)
            for one in done:
                resumed += one.resumed
                if one.error:
                    failed.append({"image": str(one.item.path), "error": one.error})
                else:
                    reports.append({**one.report, "name": one.item.name})
                bar.update(
                    task,
                    advance=1,
                    description=f"images ({len(failed)} set aside)" if failed else "images",
                )
    except KeyboardInterrupt:
        stderr().print(
            f"stopped: {len(reports)} of {total} images are done; go on with --resume",
            highlight=False,
        )
        raise typer.Exit(130) from None
    tables([*results(reports), *set_aside(failed)])
    stdout().print(
        f"{len(reports)} images done ({resumed} of them before), {len(failed)} set aside; written under {out}",
        highlight=False,
    )
    counts = {"images": len(reports), "resumed": resumed, "set_aside": len(failed)}
    closing_json(
        {
            "command": "tokenize",
            **counts,
            "settings": summary(reports) if reports else [],
            "failed": failed,
            "out": str(out),
        }
    )
    return len(failed)


@app.command()
def frontier(
    paths: Annotated[
        list[str], typer.Argument(help="Images, folders, globs; - reads a list on standard input.")
    ],
    encoder: Encoder = "lite",
    segmenter: Segmenter = "felzenszwalb",
    budget: Annotated[
        str, typer.Option(help="Numbers of tokens, with commas.")
    ] = "16,32,64,144,288",
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only this source; may repeat. Default: all that the encoder serves."),
    ] = None,
    humans: Annotated[
        Path | None,
        typer.Option(help="Folder of human segmentations, NAME.mat (BSDS500) or NAME.png."),
    ] = None,
    plot: Annotated[
        bool, typer.Option(help="Draw the curves; needs matplotlib (extra plot).")
    ] = True,
    out: Annotated[Path, typer.Option(help="Where the plot goes.")] = Path("frontier.png"),
    device: Device = "cpu",
) -> None:
    """Every way to fewer tokens at the same budgets: what they keep, whether they follow what
    people draw, what they cost.

    Examples:

    `regiontok frontier photos/`

    `regiontok frontier bsds/images --humans bsds/groundTruth --budget 16,64,144 --source merge
    --source ToMe --source "grid pooling"`
    """
    with clear_errors():
        from regiontok.data.collect import collect
        from regiontok.draw.sheet import save_image
        from regiontok.jobs.frontier import frontier as command
        from regiontok.jobs.frontier.rivals import Bench
        from regiontok.jobs.tables import progress
        from regiontok.system.need import need

        if plot:
            need("matplotlib.figure", extra="plot")  # before the work, not after it
        items, budgets = collect(paths, sys.stdin), command.numbers(budget)
        bench = Bench(encoder, segmenter, budgets, source or (), device)
        with progress(stderr()) as bar:
            task = bar.add_task("images", total=len(items))
            rows = command.frontier(bench, items, humans, tick=lambda: bar.advance(task))
        tables(command.results(rows))
        if plot:
            save_image(command.plot(rows, encoder), out)
            stdout().print(f"look at [bold]{out}[/bold]")
        closing_json(
            {
                "command": "frontier",
                "encoder": encoder,
                "rows": rows,
                "plot": str(out) if plot else None,
            }
        )


app.command()(diagnose)
app.command()(train)
app.command()(chat)
app.command()(export)
app.command()(pretrain)


@app.command()
def ls(
    kind: Annotated[
        str | None, typer.Argument(help="encoder, segmenter, transform, step, pool or recipes.")
    ] = None,
) -> None:
    """List methods and recipes with one line each.

    Examples: `regiontok ls`, `regiontok ls encoders`
    """
    with clear_errors():
        from regiontok.jobs.ls import encoder_table, group_recipes, methods

        kind = kind[:-1] if kind and kind.endswith("s") and kind != "recipes" else kind
        tables = group_recipes() if kind in ("recipe", "recipes") else methods(kind)
        from rich.markup import escape
        from rich.table import Table

        for title, table in tables.items():
            rows = Table(
                title=title,
                title_justify="left",
                title_style="bold",
                box=None,
                show_header=False,
                pad_edge=False,
            )
            rows.add_column(no_wrap=True, style="cyan")
            rows.add_column(overflow="fold")
            for name, what in table.items():
                rows.add_row(name, escape(what))
            stdout().print(rows, "")
        if kind == "encoder":
            stdout().print(encoder_table(), "")
        elif kind is None:
            stdout().print(
                "encoders by name: regiontok ls encoders; recipes by table: regiontok ls recipes"
            )


@app.command()
def check(
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Also hold checkpoints against their published outputs."),
    ] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            envvar="REGIONTOK_DATA", help="For --weights: folder under which the photos lie."
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="For --weights: folder of local checkpoints, ORG/NAME or NAME."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="For --weights: fetch what is not here from the hub.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Say what works on this machine: versions, devices, extras, encoders, segmenters, caches; and
    do one small run.

    Exit status 1 if something basic is broken, or a checkpoint does not give its published outputs.

    Examples: `regiontok check`, `regiontok check --weights --photos photos/ --download`
    """
    with clear_errors():
        from regiontok.jobs.check import machine as command

        findings = command.check()
        tables(command.results(findings))
        said, bad = {"command": "check", **command.report(findings)}, bool(command.broken(findings))
        if weights:
            from regiontok.jobs.check import weights as slices
            from regiontok.jobs.tables import progress

            verdicts = []
            with progress(stderr()) as bar:
                task = bar.add_task("published outputs", total=len(slices.SLICES))
                for one in slices.check_weights(
                    photos=photos, checkpoints=checkpoints, download=download, device=device
                ):
                    verdicts.append(one)
                    bar.advance(task)
            tables(slices.results(verdicts))
            said["weights"] = slices.report(verdicts)
            bad = bad or any(one.state in ("fails", "broken") for one in verdicts)
        closing_json(said)
    raise typer.Exit(1 if bad else 0)


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            help="A method, a recipe, an image's folder under --out, or a pretraining run's."
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="For a recipe: key=value.")] = None,
    scale: Annotated[str, typer.Option(help="For a recipe: mini, small or paper.")] = "mini",
) -> None:
    """Show a method's documentation, a recipe as it is resolved, the regions of an image that was
    tokenized, or a pretraining run.

    Examples: `regiontok show merge`, `regiontok show quick/cluster tokenizer.pool=select`,
    `regiontok show out/photo.jpg`
    """
    with clear_errors():
        from regiontok.jobs.show import show_method, show_output, show_recipe

        if (Path(what) / "log.jsonl").is_file():
            from regiontok.jobs.curves import evaluations, write_curves

            stdout().print(evaluations(Path(what)))
            stdout().print(f"drawn: {write_curves(Path(what))}", highlight=False, markup=False)
        elif Path(what).is_dir():
            _regions(show_output(Path(what)))
        else:
            text = show_method(what) or show_recipe(
                what, scale=scale, overrides=tuple(overrides or ())
            )
            stdout().print(text, highlight=False, markup=False)


def _regions(settings: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    for setting, regions in settings:
        steps = " -> ".join(f"{step['step']} {step['regions']}" for step in setting["steps"])
        stdout().print(
            f"{setting['spec']}: {setting['tokens']} tokens ({steps})",
            style="bold",
            highlight=False,
            markup=False,
        )
        for region in regions[:10]:
            name = (
                f"  {region['name']} ({100 * region['name_share']:.0f} %)"
                if "name" in region
                else ""
            )
            box = " ".join(f"{side:.0f}" for side in region["box"])
            stdout().print(
                f"  {len(region['patches']):4d} patches  box {box}{name}",
                highlight=False,
                markup=False,
            )
        if len(regions) > 10:
            stdout().print(f"  ... and {len(regions) - 10} smaller", highlight=False)


def main() -> None:
    """The entry point of the `regiontok` command."""
    app()


if __name__ == "__main__":
    main()

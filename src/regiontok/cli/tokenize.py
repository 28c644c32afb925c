"""`regiontok demo` and `regiontok tokenize`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli import completion
from regiontok.cli.options import (
    Batch,
    Cut,
    Device,
    DryRun,
    Encoder,
    Out,
    Overwrite,
    RegionSpecs,
    Resume,
    Scale,
    Segmenter,
    Tiles,
)
from regiontok.cli.pieces import EngineName, EngineOption, PieceSize, RayAddress, Where, do_tars
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    look_at,
    note,
    print_tables,
    say,
    say_names,
    warn,
)
from regiontok.cli.token_tars import OF_IMAGES, refuse_for_tars, tokens_of_tars
from regiontok.system.need import named_extra

if TYPE_CHECKING:
    from regiontok.data.collect import NamedPath
    from regiontok.jobs.tokenize.images import TokenizeOutcome
    from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
    from regiontok.settings.recipe import TokenizerSettings


def demo(out: Out = Path("demo"), device: Device = "cpu") -> None:
    """Cut real photos into regions four ways, and ask a shipped model about a generated picture.

    This needs no network. `contact_sheet.png` shows the regions, `answers.png` the answers and the
    regions that each looked at.

    Example: `regiontok demo --out demo`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import tokenize_tables
        from regiontok.jobs import demo as job
        from regiontok.jobs.tokenize.report import summarise

        with counting("photos", len(job.PHOTOS)) as tick:
            reports = job.demo(out, device=device, tick=tick)
        print_tables(tokenize_tables(reports))
        look_at(out / "contact_sheet.png")
        answers = _demo_answers(out, device)
        closing_json(
            {
                "command": "demo",
                "images": len(reports),
                "settings": summarise(reports),
                "answers": answers,
                "out": str(out),
            }
        )


def _demo_answers(out: Path, device: str) -> list[dict[str, Any]]:
    """Answers about a generated picture; none, and a line that says why, where they cannot be."""
    try:
        from regiontok.jobs.demo_answers import SHEET, demo_answers
    except ImportError as error:
        note(f"no answers about a picture: {named_extra(error)}")
        return []
    answers = demo_answers(out, device=device)
    if not answers:
        note("no answers about a picture: this installation has no models")
        return []
    for each in answers:
        expected = "" if each.right else f" (expected: {each.question.answer})"
        say(f"{each.question.text} {each.said}{expected}")
    look_at(out / SHEET)
    return [each.report() for each in answers]


def tokenize(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, folders or globs; - reads a list on standard input; or "
            "WebDataset .tar files, or folders of such."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            autocompletion=completion.recipes,
            help="Take the tokenizer of a recipe, by name or path; flags beside it change it.",
        ),
    ] = "",
    scale: Scale = "mini",
    encoder: Encoder = "lite",
    regions: RegionSpecs = None,
    segmenter: Segmenter = "",
    transforms: Annotated[
        str,
        typer.Option(
            autocompletion=completion.methods("transform"),
            help="Transforms of the features that region steps read, such as fill_outliers; see "
            "`regiontok ls transforms`.",
        ),
    ] = "",
    pool: Annotated[
        str, typer.Option(help="How a region becomes tokens: mean, attend or select.")
    ] = "mean",
    norm: Annotated[
        str, typer.Option(help="How features are normalised before pooling: none or rms.")
    ] = "none",
    whole: Annotated[
        bool, typer.Option("--whole", help="Put a token of the whole image in front.")
    ] = False,
    cls: Annotated[
        bool, typer.Option("--cls", help="Put the encoder's CLS or summary tokens in front.")
    ] = False,
    padding: Annotated[
        str, typer.Option(help="What happens to patches that see only padding: drop or keep.")
    ] = "drop",
    tiles: Tiles = "",
    cut: Cut = "stitched",
    clip: Annotated[
        bool,
        typer.Option("--clip", help="Take every path as one clip: a video, or a folder of frames."),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Clips: frames a second to take. Without it, all.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Clips: frames a second that a folder of frames holds.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Clips: frames at most; more are an error.")
    ] = 256,
    keep_cut: Annotated[
        bool,
        typer.Option("--keep-cut", help="Clips: take the whole frames of a video that is cut off."),
    ] = False,
    name: Annotated[
        bool,
        typer.Option("--name", help="Name each region with the encoder's own classifier."),
    ] = False,
    rle: Annotated[
        bool, typer.Option("--rle", help="Also write each region's pixels as COCO run lengths.")
    ] = False,
    picture: Annotated[bool, typer.Option(help="Draw the regions of each image.")] = True,
    picture_format: Annotated[
        str, typer.Option(help="Format of the drawings: webp and jpg are small, png is exact.")
    ] = "webp",
    out: Out = Path("out"),
    resume: Resume = False,
    overwrite: Overwrite = False,
    batch: Batch = 8,
    device: Device = "cpu",
    workers: Annotated[
        int, typer.Option(min=1, help="Tars: processes that compute, one thread each.")
    ] = 1,
    piece: PieceSize = 256,
    engine: EngineOption = EngineName.local,
    ray_address: RayAddress = "",
    dry_run: DryRun = False,
) -> None:
    """Turn images into region tokens, with a picture and a table.

    Each image gets a folder under --out, where the tokens of several region specs stand beside one
    another. A bad image is set aside, named and counted (exit status 1), and the others are done.
    So is an image whose folder has the tokens of another picture or encoder; see --overwrite.

    Tars get a file of tokens each, without pictures: their images go piece by piece, here or on a
    Ray cluster, as those of `regiontok curate` do. The same command goes on after any stop.

    Examples:

    `regiontok tokenize photo.jpg --name`

    `regiontok tokenize photos/ --regions patches --regions "merge(k=64) | sort('com')" --resume`

    `regiontok tokenize photos/ --segmenter felzenszwalb --regions "segments(0.07) | sort('com')"`

    `regiontok tokenize photos/ --recipe quick/budget --pool select`

    `regiontok tokenize clip.mp4 --fps 4`

    `regiontok tokenize frames/ --clip --rate 24 --fps 4`

    `ls photos/*.jpg | regiontok tokenize - --out tokens`

    `regiontok tokenize shards/ --regions "merge(k=64)" --out tokens --workers 8`
    """
    with clear_errors():
        from regiontok.data.collect import collect
        from regiontok.jobs.tars.job import are_tars
        from regiontok.jobs.tokenize.clips import Sampling, separate_clips

        flags = {
            "encoder": encoder,
            "segmenter": segmenter,
            "transforms": transforms,
            "pool": pool,
            "norm": norm,
            "padding": padding,
            "tiles": tiles,
            "cut": cut,
            "whole": whole,
            "cls": cls,
        }
        settings = _settings(recipe, scale, {name: flags[name] for name in _typed(ctx, flags)})
        if are_tars(paths):
            refuse_for_tars(_typed(ctx, OF_IMAGES), regions or [])
            of_tars = tokens_of_tars(paths, out, piece, settings, regions or [""], device, batch)
            where = Where(engine, workers, ray_address)
            raise typer.Exit(do_tars(of_tars, "tokenize", where, dry_run=dry_run))
        clips, other_words = separate_clips(paths, all_clips=clip, stdin=sys.stdin)
        images = collect(other_words, sys.stdin, note=warn) if other_words or not clips else []
        from regiontok.jobs.tokenize import command as job
        from regiontok.jobs.tokenize.earlier import Writing, wanted_of
        from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet

        inputs = [*clips, *images]
        if dry_run and _say_absent(settings, regions or [], inputs, out):
            return
        tokenizers = TokenizerSet(settings, regions or [], name_regions=name, device=device)
        sampling = Sampling(fps=fps, rate=rate, most=most, cut="keep" if keep_cut else "error")
        ending = f".{picture_format.removeprefix('.').lower()}"
        writing = Writing(
            rle=rle, picture=ending if picture else "", resume=resume, overwrite=overwrite
        )
        if dry_run:
            wanted_of(tokenizers, writing)  # what a run refuses before its first image
            _say_plan(tokenizers, inputs, images, out)
            return
        outcomes = job.tokenize(
            tokenizers,
            images,
            out,
            clips=clips,
            sampling=sampling,
            batch=batch,
            writing=writing,
        )
        failed = _show_outcomes(outcomes, len(inputs), out)
    raise typer.Exit(1 if failed else 0)


def _say_plan(
    tokenizers: TokenizerSet, inputs: Sequence[NamedPath], images: Sequence[NamedPath], out: Path
) -> None:
    """Say what would be written, and of how many images a budget cannot be met."""
    from regiontok.jobs.tokenize.trial import try_budgets

    say_names(f"{source.path} -> {out / source.name}" for source in inputs)
    trials = try_budgets(tokenizers, images)
    for trial in trials:
        if trial.failed:
            warn(
                f"{trial.spec}: {trial.failed} of {trial.tried} images tried ({trial.share:.0%}) "
                f"would be set aside: {trial.error}"
            )
        else:
            say(f"{trial.spec}: made of all {trial.tried} images tried")
    plan = {"images": len(inputs), "specs": tokenizers.specs, "out": str(out)}
    tried = [trial.as_dict() for trial in trials]
    closing_json({"command": "tokenize", "dry_run": True, **plan, "budgets": tried})


def _say_absent(
    settings: TokenizerSettings, specs: Sequence[str], inputs: Sequence[NamedPath], out: Path
) -> bool:
    """Say what is known of a run whose encoder is not on this machine; False if it is."""
    from regiontok.settings.catalogue import absent_encoder

    entry = absent_encoder(settings.encoder)
    if entry is None:
        return False
    say_names(f"{source.path} -> {out / source.name}" for source in inputs)
    patches = f"{entry.grid[0] * entry.grid[1]}" if entry.grid else "the photo's number of"
    say(
        f"{entry.hub} is not on this machine, so nothing was tried: {patches} patches of width "
        f"{entry.width}, licence of the weights: {entry.licence}"
    )
    plan = {"images": len(inputs), "specs": specs or [settings.regions], "out": str(out)}
    closing_json({"command": "tokenize", "dry_run": True, **plan, "absent": entry.hub})
    return True


def _typed(ctx: typer.Context, names: Iterable[str]) -> list[str]:
    """The options that were given on the command line, and were not left at their defaults."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source and source.name != "DEFAULT"]


def _settings(recipe: str, scale: str, changes: dict[str, Any]) -> TokenizerSettings:
    """The tokenizer's settings: those of the recipe, or the defaults, with what flags change.

    Raises:
        ValueError: If the recipe is unknown, or a flag's value is none.
    """
    from pydantic import ValidationError

    from regiontok.settings.checks import first_problem
    from regiontok.settings.recipe import TokenizerSettings, load_recipe

    if scale != "mini" and not recipe:
        raise ValueError("--scale is the scale of a recipe: name one with --recipe")
    start = load_recipe(recipe, scale=scale).tokenizer if recipe else TokenizerSettings()
    try:
        return TokenizerSettings.model_validate({**start.model_dump(), **changes})
    except ValidationError as error:
        raise ValueError(f"--{first_problem(error, TokenizerSettings)}") from None


def _show_outcomes(outcomes: Iterable[TokenizeOutcome], total: int, out: Path) -> int:
    """Show progress, then the tables; return how many images were set aside."""
    from regiontok.cli.progress import tally
    from regiontok.cli.tables import set_aside_tables, tokenize_tables
    from regiontok.jobs.tokenize.index import INDEX
    from regiontok.jobs.tokenize.report import summarise

    reports: list[dict[str, Any]] = []

    def keep_report(outcome: TokenizeOutcome) -> None:
        if outcome.report is not None:
            reports.append({**outcome.report, "name": outcome.source.name})

    count = tally(
        outcomes,
        total=total,
        name=lambda outcome: str(outcome.source.path),
        go_on="go on with --resume",
        on_done=keep_report,
    )
    print_tables(tokenize_tables(reports))
    print_tables(set_aside_tables(count.failed))
    say(f"{count.summary()}; written under {out}, with an index in {out / INDEX}")
    closing_json(
        {
            "command": "tokenize",
            "images": count.done,
            "resumed": count.resumed,
            "set_aside": len(count.failed),
            "settings": summarise(reports),
            "failed": count.failed,
            "out": str(out),
            "index": str(out / INDEX),
        }
    )
    return len(count.failed)

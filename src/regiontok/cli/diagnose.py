"""`regiontok diagnose`: the words of its command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.terminal import clear_errors, closing_json, stderr, stdout, tables

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


def diagnose(
    encoders: Annotated[
        list[str] | None, typer.Argument(help="Encoder specs, hub names or local folders.")
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option(help="Images, folders, globs; - reads a list; may repeat.")
    ] = None,
    layers: Annotated[
        str,
        typer.Option(help="Numbers with commas, all, or all:4 (every fourth); of lite its stages."),
    ] = "",
    control: Annotated[
        bool, typer.Option("--control", help="Also the same networks with random weights.")
    ] = False,
    humans: Annotated[
        Path | None,
        typer.Option(help="Folder of human segmentations, NAME.mat (BSDS500) or NAME.png."),
    ] = None,
    segmenter: Annotated[
        str, typer.Option(help="Borders of photos without a human segmentation.")
    ] = "felzenszwalb",
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Only this: raw, or a remedy; may repeat. Default: all."),
    ] = None,
    sample: Annotated[int, typer.Option(min=2, help="Photos that position is read out of.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the grey blocks and of that sample.")] = 0,
    about: Annotated[str, typer.Option(help="What the photos are, in words, for the page.")] = "",
    leaderboard: Annotated[
        list[Path] | None,
        typer.Option(help="Measure nothing: write --out from these saved results; may repeat."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results; with --leaderboard the page to write.")
    ] = Path("diagnosis"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run with the same settings stopped.")
    ] = False,
    figure: Annotated[
        str | None,
        typer.Option(
            help="Draw this instead: study3, study4, study7, supp1, supp2 (figures of the study)."
        ),
    ] = None,
    figure_out: Annotated[
        Path, typer.Option(help="Where the figure goes: .svg, .png or .webp.")
    ] = Path("figure.svg"),
    photos: Annotated[int, typer.Option(min=1, help="Figures: so many of the images.")] = 3,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Figures: one PCA a photo, not one for all.")
    ] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Figures: PCA of the foreground; the rest is black."),
    ] = False,
    after: Annotated[
        str, typer.Option(help="Figures: transforms of the 'after' panels (supp1).")
    ] = "rms",
    size: Annotated[
        list[int] | None,
        typer.Option(help="Figures: each encoder at this canvas size; may repeat."),
    ] = None,
    turned: Annotated[
        bool, typer.Option("--turned", help="Figures: rows and columns change places.")
    ] = False,
    letters: Annotated[
        bool, typer.Option("--letters", help="Figures: (a), (b) ... over the columns.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """How coherent an encoder's features are: norms, smoothness, locality, clustering, and what
    remedies change.

    Writes a table, `results.json` and one self-contained `page.html`. A bad photo is set aside,
    named and counted (exit status 1).

    Examples:

    `regiontok diagnose lite filters --images photos/`

    `regiontok diagnose facebook/dinov2-base --layers -1,-6 --images bsds/images --humans
    bsds/groundTruth --out runs/dino --resume`

    `regiontok diagnose lite filters --images photos/ --figure supp2 --figure-out figure.png`

    `regiontok diagnose --leaderboard runs/dino --leaderboard runs/clip --out encoders.md`
    """
    with clear_errors():
        if figure:
            from regiontok.jobs.diagnose.figure import Options as Look

            look = Look(
                not per_image,
                foreground,
                after,
                tuple(size or ()),
                segmenter,
                turned,
                letters,
                device,
            )
            _figure(figure, encoders or [], images or [], photos, look, figure_out)
            return
        if leaderboard:
            from regiontok.jobs.diagnose.leaderboard import read_results, write_leaderboard

            rows = write_leaderboard(read_results(leaderboard), out)
            closing_json({"command": "leaderboard", "rows": rows, "out": str(out)})
            return
        from datetime import date

        from regiontok.data.collect import collect
        from regiontok.jobs.diagnose.columns import summary, terminal_tables
        from regiontok.jobs.diagnose.diagnosis import VARIANTS, Diagnosis, Options
        from regiontok.jobs.diagnose.page import page
        from regiontok.jobs.diagnose.subjects import subjects
        from regiontok.jobs.tables import progress
        from regiontok.system.files import replacing

        items = collect(images or [], sys.stdin)
        options = Options(
            out,
            humans,
            segmenter,
            tuple(variant or VARIANTS),
            sample,
            seed,
            resume,
            date.today().isoformat(),
            about,
        )
        run = Diagnosis(
            subjects(encoders or [], layers, control=control, device=device), items, options
        )
        with progress(stderr()) as bar:
            task = bar.add_task("photos", total=run.total)
            results = run.run(lambda: bar.advance(task))
        with replacing(out / "page.html") as part:
            part.write_text(page(results), encoding="utf-8")
        tables(terminal_tables(results))
        stdout().print(f"look at [bold]{out / 'page.html'}[/bold]")
        closing_json({**summary(results), "out": str(out)})
    raise typer.Exit(1 if results["failed"] else 0)


def _figure(
    name: str, encoders: list[str], images: list[str], count: int, look: Any, out: Path
) -> None:
    from regiontok.core.picture import Picture
    from regiontok.data.collect import collect
    from regiontok.jobs.diagnose.figure import figure, save_figure
    from regiontok.jobs.tables import progress

    pictures = [Picture.of(item.path) for item in collect(images, sys.stdin)[:count]]
    with progress(stderr()) as bar:
        task = bar.add_task("panels", total=None)
        drawn = figure(name, encoders, pictures, look, tick=lambda: bar.advance(task))
    save_figure(drawn, out)
    stdout().print(f"look at [bold]{out}[/bold]")
    closing_json({"command": "diagnose", "figure": name, "photos": len(pictures), "out": str(out)})

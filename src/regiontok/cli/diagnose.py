"""`regiontok diagnose`: `measure` puts numbers on an encoder's features, `figure` draws them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import (
    Device,
    Humans,
    Out,
    Overwrite,
    Photos,
    Resume,
    Segmenter,
    command_group,
    group_with_default,
    with_json,
)
from regiontok.cli.terminal import clear_errors, closing_json, look_at, print_tables, warn

diagnose_app = command_group(
    "Measure how coherent an encoder's features are, and draw them: "
    "`regiontok diagnose ENCODER... --images PHOTOS`.",
    cls=group_with_default("measure"),
)


@diagnose_app.command("measure")
@with_json
def diagnose_measure(
    encoders: Annotated[
        list[str], typer.Argument(help="Encoder specs, short names, hub names or folders.")
    ],
    images: Photos,
    layers: Annotated[
        str,
        typer.Option(
            help="Layers: numbers with commas, all, or all:4 (every fourth); of lite its stages."
        ),
    ] = "",
    control: Annotated[
        bool, typer.Option("--control", help="Also measure the same networks with random weights.")
    ] = False,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this variant: raw, or a remedy; may be given several times. Without it, all."
        ),
    ] = None,
    humans: Humans = None,
    segmenter: Segmenter = "felzenszwalb",
    sample: Annotated[
        int, typer.Option(min=2, help="Number of photos that position is read out of.")
    ] = 16,
    seed: Annotated[
        int, typer.Option(help="Seed of the grey blocks and of the sample of photos.")
    ] = 0,
    about: Annotated[str, typer.Option(help="What the photos are, in words, for the page.")] = "",
    out: Out = Path("diagnosis"),
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = "cpu",
) -> None:
    """Measure encoders on photos: norms, smoothness, locality, clustering, and what remedies do.

    Prints a table, and writes `results.json` and one self-contained `page.html` under --out. The
    segmenter draws the borders of photos without a human segmentation. A bad photo is set aside,
    named and counted (exit status 1).

    Examples:

    `regiontok diagnose measure lite filters --images photos/`

    `regiontok diagnose measure facebook/dinov2-base --layers -1,-6 --images photos/ --resume`
    """
    with clear_errors("what was measured is kept; go on with --resume"):
        from datetime import date

        from regiontok.cli.progress import counting
        from regiontok.cli.tables import set_aside_tables
        from regiontok.data.collect import collect
        from regiontok.jobs.diagnose.columns import summary, terminal_tables
        from regiontok.jobs.diagnose.diagnosis import VARIANTS, Diagnosis, Options
        from regiontok.jobs.diagnose.page import page
        from regiontok.jobs.diagnose.subjects import subjects
        from regiontok.system.files import replacing
        from regiontok.system.lease import folder_lease

        photos = collect(images, sys.stdin, note=warn)
        options = Options(
            out=out,
            humans=humans,
            segmenter=segmenter,
            variants=tuple(variant or VARIANTS),
            sample=sample,
            seed=seed,
            resume=resume,
            overwrite=overwrite,
            date=date.today().isoformat(),
            about=about,
        )
        networks = subjects(encoders, layers, control=control, device=device)
        with folder_lease(out):
            diagnosis = Diagnosis(networks, photos, options)
            with counting("photos", diagnosis.total) as tick:
                results = diagnosis.run(tick)
            with replacing(out / "page.html") as path:
                path.write_text(page(results), encoding="utf-8", errors="backslashreplace")
        print_tables(terminal_tables(results))
        print_tables(set_aside_tables(results["failed"]))
        look_at(out / "page.html")
        closing_json({**summary(results), "out": str(out)})
    raise typer.Exit(1 if results["failed"] else 0)


@diagnose_app.command("figure")
@with_json
def diagnose_figure(
    figure: Annotated[
        str,
        typer.Argument(
            help="A figure of the study: study2, study3, study4, study7, supp1 or supp2."
        ),
    ],
    encoders: Annotated[
        list[str], typer.Argument(help="Encoder specs, short names, hub names or folders.")
    ],
    images: Photos,
    count: Annotated[int, typer.Option(min=1, help="Number of photos that are drawn.")] = 3,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Take one PCA a photo, not one for all.")
    ] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Take the PCA of the foreground; the rest is black."),
    ] = False,
    after: Annotated[str, typer.Option(help="Transforms of the panels 'after' (supp1).")] = "rms",
    heads: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            help="Folder of a trained model, one an encoder, whose trained norm makes the panels "
            "'after' (supp1); may be given several times.",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Show each encoder with a canvas of this size; may be given several times."
        ),
    ] = None,
    segmenter: Segmenter = "felzenszwalb",
    turned: Annotated[
        bool, typer.Option("--turned", help="Let rows and columns change places.")
    ] = False,
    letters: Annotated[
        bool, typer.Option("--letters", help="Put (a), (b) ... over the columns.")
    ] = False,
    out: Out = Path("figure.svg"),
    device: Device = "cpu",
) -> None:
    """Draw a figure of the diagnostic study with these encoders and photos.

    --out is an .svg, .png or .webp.

    Examples:

    `regiontok diagnose figure supp2 lite filters --images photos/ --out figure.png`

    `regiontok diagnose figure study4 lite --images photo.jpg --segmenter "slic(100)"`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import set_aside_tables
        from regiontok.data.collect import collect
        from regiontok.jobs.diagnose import figure as job
        from regiontok.system.drawn import check_drawing_place

        check_drawing_place(out)
        options = job.Options(
            joint=not per_image,
            foreground=foreground,
            after=after,
            heads=tuple(heads or ()),
            sizes=tuple(size or ()),
            segmenter=segmenter,
            turned=turned,
            letters=letters,
            device=device,
        )
        pictures, failed = job.first_pictures(collect(images, sys.stdin, note=warn), count)
        print_tables(set_aside_tables(failed))
        with counting("panels", None) as tick:
            drawing = job.figure(figure, encoders, pictures, options, tick=tick)
        job.save_figure(drawing, out)
        look_at(out)
        closing_json(
            {
                "command": "diagnose figure",
                "figure": figure,
                "photos": len(pictures),
                "failed": failed,
                "set_aside": len(failed),
                "out": str(out),
            }
        )
    raise typer.Exit(1 if failed else 0)

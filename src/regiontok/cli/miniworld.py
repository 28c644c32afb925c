"""`regiontok miniworld`: the generated world, written out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli import completion
from regiontok.cli.options import DryRun, Overwrite
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables, say, stderr
from regiontok.system.interrupt import Terminated, exit_status

_FORMATS = (
    *("folder", "llava", "coco", "shards", "pope", "cvbench", "mmvp"),
    *("aro", "conme", "ocrbench", "pixcv", "got10k"),
)


def miniworld(
    out: Annotated[Path, typer.Argument(help="Folder that is made; it appears when all is there.")],
    format: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words(_FORMATS),
            help="Form: folder (the bench miniworld), llava, coco, shards; a benchmark's: pope, "
            "cvbench, mmvp, aro, conme, ocrbench, pixcv; or got10k, clips with tracks.",
        ),
    ] = "folder",
    split: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words(("train", "val", "test")),
            help="Split: train (200,000 pictures), val or test (5,000 each).",
        ),
    ] = "test",
    count: Annotated[
        int, typer.Option(min=0, help="Pictures, the first of the split; 0 writes all.")
    ] = 1000,
    size: Annotated[int, typer.Option(help="Side of a picture in pixels, 128 to 768.")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Write the generated world: pictures, masks, captions, and questions without a blind answer.

    Pictures show 2 to 8 objects of eight shapes, eight colours, three sizes and five materials,
    turned, partly hidden, in front of cluttered backgrounds, and printed words in seven fonts.
    The same settings give the same bytes. The table says what a model that never looks gets right.

    Examples:

    `regiontok miniworld world --count 500`

    `regiontok answer runs/patch/2_tuning miniworld --data world --out answers`

    `regiontok miniworld train --format llava --split train --count 20000 --size 192`

    `regiontok miniworld pope --format pope --count 2000`

    `regiontok miniworld clips --format got10k --count 50 --size 256`
    """
    with clear_errors():
        from regiontok.cli.progress import progress
        from regiontok.cli.tables import priors_table
        from regiontok.jobs.miniworld.export import Export, check_out, export
        from regiontok.miniworld.world import World

        settings = Export(World(split, seed, size), format, count)
        check_out(out, overwrite=overwrite)
        plan = {"command": "miniworld", "out": str(out), "pictures": settings.pictures}
        if dry_run:
            say(f"{settings.pictures} pictures of {split} would be written to {out} as {format}")
            closing_json({**plan, "format": format, "dry_run": True})
            return
        try:
            with progress(stderr()) as bar:
                task = bar.add_task("pictures", total=settings.pictures)
                report = export(settings, out, overwrite=overwrite, tick=lambda: bar.advance(task))
        except (KeyboardInterrupt, Terminated) as stop:
            note(f"stopped: {out} is not written")
            raise typer.Exit(exit_status(stop)) from None
        if report["priors"]:
            print_tables([priors_table(report["priors"])])
        say(f"{settings.pictures} pictures of {split}, {report['questions']} questions, in {out}")
        closing_json({**plan, **report})

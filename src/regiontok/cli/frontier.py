"""`regiontok frontier`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli.options import Device, DryRun, Encoder, Humans, ImagePaths, Out, Segmenter
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    look_at,
    note,
    print_tables,
    say,
    warn,
)
from regiontok.system.interrupt import Terminated, exit_status

if TYPE_CHECKING:
    from regiontok.jobs.frontier.comparison import SourceComparison


def frontier(
    paths: ImagePaths,
    encoder: Encoder = "lite",
    segmenter: Segmenter = "felzenszwalb",
    budget: Annotated[
        str, typer.Option(help="Numbers of tokens, with commas.")
    ] = "16,32,64,144,288",
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this way to fewer tokens; may be given several times. Without it, all that "
            "the encoder can serve."
        ),
    ] = None,
    humans: Humans = None,
    plot: Annotated[
        bool, typer.Option(help="Draw the curves; this needs matplotlib (extra plot).")
    ] = True,
    out: Out = Path("frontier.png"),
    device: Device = "cpu",
    dry_run: DryRun = False,
) -> None:
    """Compare every way to fewer tokens at the same budgets: what it keeps, and what it costs.

    With --humans the table also says how well regions follow what people draw. A bad image is set
    aside, named and counted (exit status 1), and the others are measured. Ctrl-C or SIGTERM ends
    with what was measured until then.

    Examples:

    `regiontok frontier photos/`

    `regiontok frontier bsds/images --humans bsds/groundTruth --budget 16,64,144 --source ToMe`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import frontier_table, set_aside_tables
        from regiontok.data.collect import collect
        from regiontok.draw.sheet import save_image
        from regiontok.jobs.frontier import frontier as job
        from regiontok.jobs.frontier.comparison import SourceComparison
        from regiontok.system.drawn import check_drawing_place
        from regiontok.system.need import need

        if plot:
            need("matplotlib.figure", extra="plot")  # before the work, not after it
            check_drawing_place(out)
        images, budgets = collect(paths, sys.stdin, note=warn), parse_budgets(budget)
        comparison = SourceComparison(
            encoder, segmenter, budgets=budgets, only=source or (), device=device
        )
        if dry_run:
            _say_plan(job.try_budgets(comparison, images), comparison, len(images))
            return
        measured: list[job.MeasuredImage] = []
        stop: BaseException | None = None
        with counting("images", len(images)) as tick:
            try:
                for image in job.measure_images(comparison, images, humans):
                    measured.append(image)
                    tick()
            except (KeyboardInterrupt, Terminated) as error:
                stop = error
                if not measured:
                    raise
        rows, failed = job.sum_up(measured)
        print_tables([frontier_table(rows), *set_aside_tables(failed)])
        if uniform := rows[0]["uniform"]:
            say(f"{uniform} images are uniform: no share of variance can be told of them")
        if plot:
            save_image(job.plot_frontier(rows, encoder), out)
            look_at(out)
        closing_json(
            {
                "command": "frontier",
                "encoder": encoder,
                "rows": rows,
                "failed": failed,
                "set_aside": len(failed),
                "plot": str(out) if plot else None,
                **({"stopped": True} if stop else {}),
            }
        )
        if stop:
            note(f"stopped: {len(measured)} of {len(images)} images are measured, and shown above")
            raise typer.Exit(exit_status(stop))
    raise typer.Exit(1 if failed else 0)


def _say_plan(misses: list[dict[str, Any]], comparison: SourceComparison, images: int) -> None:
    """Say what would be compared, and which budgets are not met exactly, of how many images."""
    say(f"{images} images, {len(comparison.names)} sources: {', '.join(comparison.names)}")
    for miss in misses:
        say(
            f"{miss['source']} at {miss['budget']}: not met by {miss['missed']} of "
            f"{miss['tried']} images tried ({miss['share']:.0%})"
            + (f": {miss['error']}" if miss["error"] else "")
        )
    plan = {"images": images, "sources": comparison.names, "budgets": comparison.budgets}
    closing_json({"command": "frontier", "dry_run": True, **plan, "not_met": misses})


def parse_budgets(text: str) -> list[int]:
    """Numbers of tokens as --budget gives them.

    >>> parse_budgets("16, 64,144")
    [16, 64, 144]

    Raises:
        ValueError: If there is anything but whole numbers and commas.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(
            f"expected whole numbers with commas between them, such as 16,64,144; got {text!r}"
        ) from None

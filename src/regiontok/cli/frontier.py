"""`regiontok frontier`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import Device, Encoder, Humans, ImagePaths, Out, Segmenter
from regiontok.cli.terminal import clear_errors, closing_json, look_at, print_tables


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
) -> None:
    """Compare every way to fewer tokens at the same budgets: what it keeps, and what it costs.

    With --humans the table also says how well regions follow what people draw.

    Examples:

    `regiontok frontier photos/`

    `regiontok frontier bsds/images --humans bsds/groundTruth --budget 16,64,144 --source ToMe`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import frontier_table
        from regiontok.data.collect import collect
        from regiontok.draw.sheet import save_image
        from regiontok.jobs.frontier import frontier as job
        from regiontok.jobs.frontier.comparison import SourceComparison
        from regiontok.system.need import need

        if plot:
            need("matplotlib.figure", extra="plot")  # before the work, not after it
        images, budgets = collect(paths, sys.stdin), parse_budgets(budget)
        comparison = SourceComparison(
            encoder, segmenter, budgets=budgets, only=source or (), device=device
        )
        with counting("images", len(images)) as tick:
            rows = job.frontier(comparison, images, humans, tick=tick)
        print_tables([frontier_table(rows)])
        if plot:
            save_image(job.plot_frontier(rows, encoder), out)
            look_at(out)
        closing_json(
            {
                "command": "frontier",
                "encoder": encoder,
                "rows": rows,
                "plot": str(out) if plot else None,
            }
        )


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

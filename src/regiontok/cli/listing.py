"""`regiontok ls` and `regiontok show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.options import Overrides, Scale
from regiontok.cli.terminal import clear_errors, print_tables, say, stdout

SHOWN_REGIONS = 10  # of one region spec


def ls(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="encoders, segmenters, transforms, steps, pools, places, connectors or recipes. "
            "Without it, all methods."
        ),
    ] = None,
) -> None:
    """List methods and recipes with one line each.

    Examples: `regiontok ls`, `regiontok ls encoders`, `regiontok ls recipes`
    """
    with clear_errors():
        from regiontok.cli.tables import encoder_table, name_tables
        from regiontok.jobs.ls import encoder_rows, methods_by_kind

        singular = kind.removesuffix("s") if kind else None
        if singular == "recipe":
            from regiontok.settings.recipes import recipes_by_table

            print_tables(name_tables(recipes_by_table()))
            return
        print_tables(name_tables(methods_by_kind(singular)))
        if singular == "encoder":
            from regiontok.system.hub import cache_folder

            print_tables([encoder_table(encoder_rows(), str(cache_folder()))])
        elif singular is None:
            say("encoders by name: regiontok ls encoders; recipes by table: regiontok ls recipes")


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A method, a recipe, the folder of a tokenized image, or that of a pretraining "
            "run."
        ),
    ],
    overrides: Overrides = None,
    scale: Scale = "mini",
) -> None:
    """Show the documentation of a method, a resolved recipe, the regions of an image, or a run.

    Examples:

    `regiontok show merge`

    `regiontok show quick/cluster tokenizer.pool=select`

    `regiontok show out/photo.jpg`
    """
    with clear_errors():
        from regiontok.jobs.show import show_method, show_output, show_recipe

        folder = Path(name)
        if (folder / "log.jsonl").is_file():
            from regiontok.cli.run_tables import evaluation_table
            from regiontok.jobs.curves import evaluations, write_curves

            stdout().print(evaluation_table(folder.name, evaluations(folder)))
            say(f"drawn: {write_curves(folder)}")
        elif folder.is_dir():
            for entry, regions in show_output(folder):
                _say_regions(entry, regions)
        else:
            changes = tuple(overrides or ())
            say(show_method(name) or show_recipe(name, scale=scale, overrides=changes))


def _say_regions(entry: dict[str, Any], regions: list[dict[str, Any]]) -> None:
    """Print what one region spec made of an image: its counts, and its largest regions."""
    steps = " -> ".join(f"{step['step']} {step['regions']}" for step in entry["steps"])
    say(f"{entry['spec']}: {entry['tokens']} tokens ({steps})", style="bold")
    for region in regions[:SHOWN_REGIONS]:
        name = ""
        if "name" in region:
            name = f"  {region['name']} ({100 * region['name_share']:.0f} %)"
        box = " ".join(f"{side:.0f}" for side in region["box"])
        say(f"  {len(region['patches']):4d} patches  box {box}{name}")
    if len(regions) > SHOWN_REGIONS:
        say(f"  ... and {len(regions) - SHOWN_REGIONS} smaller")

"""`regiontok ls` and `regiontok show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli import completion
from regiontok.cli.options import Overrides, Scale
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    json_is_wanted,
    print_tables,
    say,
    say_lines,
    stdout,
)

SHOWN_REGIONS = 10  # of one region spec


def ls(
    kind: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.lists,
            help="encoders, segmenters, transforms, steps, pools, places, connectors, families, "
            "benches, recipes or models (those that come with the package). Without it, all "
            "methods.",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Only what matches: a glob of the name such as study/table1_*, or a text that "
            "stands in the name or its line."
        ),
    ] = None,
) -> None:
    """List methods, recipes and shipped models with one line each.

    Examples: `regiontok ls`, `regiontok ls encoders dino`, `regiontok ls recipes "study/table1_*"`
    """
    with clear_errors():
        from regiontok.cli.tables import encoder_table, name_tables
        from regiontok.jobs.ls import LISTS, encoder_rows, listed, matching, methods_by_kind

        word = listed(kind) if kind else None
        if word == "models":
            _list_models(pattern)
            return
        rows = encoder_rows() if word == "encoders" else []
        if word == "recipes":
            from regiontok.settings.recipes import recipes_by_table

            groups = recipes_by_table()
        else:
            groups = methods_by_kind(LISTS[word] if word else None)
        if pattern:
            shorts = {row["name"]: f"{row['spec']} {row['note']}" for row in rows}
            matched = matching({**groups, "": shorts}, pattern)
            rows = [row for row in rows if row["name"] in matched.get("", {})]
            groups = {title: lines for title, lines in matched.items() if title}
        print_tables(name_tables(groups))
        if rows:
            from regiontok.system.hub import cache_folder

            print_tables([encoder_table(rows, str(cache_folder()), stdout().width)])
        elif word is None:
            say("encoders by name: regiontok ls encoders; recipes by table: regiontok ls recipes")
        if json_is_wanted():
            more = {"encoders": rows} if word == "encoders" else {}
            closing_json({"command": "ls", "lists": groups, **more})


def _list_models(pattern: str | None) -> None:
    """List the models that come with the package, or those that match."""
    from regiontok.cli.tables import model_table
    from regiontok.jobs.ls import matching, model_rows

    rows = model_rows()
    if pattern and rows:
        lines = {row["name"]: f"{row['alias']} {row['what']}" for row in rows}
        matched = matching({"model": lines}, pattern)["model"]
        rows = [row for row in rows if row["name"] in matched]
    if rows:
        print_tables([model_table(rows)])
    else:
        say("this installation has no models; `regiontok train miniworld/patch` trains one")
    if json_is_wanted():
        closing_json({"command": "ls", "models": rows})


def show(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.shown,
            help="A method, a recipe, the folder of a tokenized image, or that of a training or "
            "pretraining run.",
        ),
    ],
    overrides: Overrides = None,
    scale: Scale = "mini",
) -> None:
    """Show the documentation of a method, a resolved recipe, the regions of an image, or a run.

    A recipe comes as TOML that can be kept: `regiontok show quick/cluster > mine.toml`

    Examples:

    `regiontok show merge`

    `regiontok show quick/cluster tokenizer.pool=select`

    `regiontok show out/photo.jpg`

    `regiontok show run`
    """
    with clear_errors():
        from regiontok.jobs.show import show_method, show_output, show_recipe

        folder = Path(name)
        if (folder / "log.jsonl").is_file():
            report = _show_run(folder)
        elif methods := show_method(name):
            report = {"methods": methods}
            say_lines("\n\n".join(map(_method_text, methods)))
        elif folder.is_dir():
            entries = show_output(folder)
            report = {"settings": [{**entry, "regions": regions} for entry, regions in entries]}
            for entry, regions in entries:
                _say_regions(entry, regions)
        else:
            from regiontok.settings.recipe import to_toml

            recipe = show_recipe(name, scale=scale, overrides=tuple(overrides or ()))
            report = {"recipe": recipe.model_dump()}
            say_lines(to_toml(recipe).removesuffix("\n"))
        if json_is_wanted():
            closing_json({"command": "show", **report})


def _show_run(folder: Path) -> dict[str, Any]:
    """Print the evaluations of a run and draw its curves; returns what the JSON says of it."""
    from regiontok.cli.run_tables import evaluation_table
    from regiontok.jobs.curves import evaluations, write_curves

    judged = evaluations(folder)
    if judged:
        print_tables([evaluation_table(folder.resolve().name, judged)])
    else:
        say(f"{folder}: no evaluation yet")
    curves = write_curves(folder)
    say(f"drawn: {curves}")
    return {"run": str(folder), "evaluations": judged, "curves": str(curves)}


def _method_text(method: dict[str, Any]) -> str:
    """The documentation of a method; of a short name, what it stands for is said first."""
    text = f"{method['kind']} {method['signature']}\n\n{method['documentation']}"
    entry = method.get("entry")
    if entry is None:
        return text
    grid = "×".join(map(str, entry["grid"])) if entry["grid"] else "the photo's"
    note = f"; {entry['note']}" if entry["note"] else ""
    about = f"grid {grid}, width {entry['width']}, licence of the weights: {entry['licence']}{note}"
    return f"{entry['name']} stands for {entry['spec']}\n{about}\n\n{text}"


def _say_regions(entry: dict[str, Any], regions: list[dict[str, Any]]) -> None:
    """Print what one region spec made of an image: its counts, and its largest regions."""
    from regiontok.jobs.tokenize.tables import label_of

    steps = " -> ".join(f"{step['step']} {step['regions']}" for step in entry["steps"])
    say(f"{entry['spec']}: {entry['tokens']} tokens ({steps})", style="bold")
    for region in regions[:SHOWN_REGIONS]:
        box = " ".join(f"{side:.0f}" for side in region["box"])
        labelled = f"{len(region['patches']):4d} patches  box {box}  {label_of(region)}"
        say(f"  {labelled.rstrip()}")
    if len(regions) > SHOWN_REGIONS:
        say(f"  ... and {len(regions) - SHOWN_REGIONS} smaller")

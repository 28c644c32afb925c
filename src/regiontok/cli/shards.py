"""`regiontok shards`: images and regions as pretraining shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import DryRun, Segmenter
from regiontok.cli.terminal import clear_errors, closing_json, print_tables, say, warn


def shards(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders or globs, of which tars are made; or WebDataset .tar files, or "
            "folders of such, which get a side-car and stay as they are."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the shards, or of the tars' side-cars.")],
    segmenter: Segmenter = "",
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Table of boxes, Parquet or JSON lines: image, x0, y0, x1, y1, and label, "
            "confidence, text where there are any."
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Class names by number: a JSON list, such as the classes.json of other shards, or "
            "annotations in COCO's form. Without it, names are numbered as they are met."
        ),
    ] = None,
    images_per_shard: Annotated[int, typer.Option(min=1, help="Images of a tar.")] = 1000,
    min_edge: Annotated[
        float, typer.Option(min=0, help="Least pixels of an object's shorter side; RICE has 128.")
    ] = 0.0,
    masks: Annotated[
        bool, typer.Option("--masks/--no-masks", help="Whether masks are kept beside their boxes.")
    ] = True,
    dry_run: DryRun = False,
) -> None:
    """Make pretraining shards of images and their regions; run it again after any stop.

    A bad image is set aside, named and counted (exit status 1), and the others are done. Shards
    that are there already are not made again. `regiontok pretrain` reads them.

    Regions are the masks of --segmenter, whose names are classes, or the boxes of --boxes.

    Examples:

    `regiontok shards coco/val2017 --segmenter "stored('instances_val2017.json')" --out shards`

    `regiontok shards photos/ --boxes boxes.parquet --out shards`

    `regiontok shards laion/*.tar --segmenter felzenszwalb --min-edge 128 --out sidecars`

    `regiontok pretrain rice/pretrain_b16 "pretrain.data=[{shards='shards'}]" --out run`
    """
    with clear_errors():
        from regiontok.cli.progress import tally
        from regiontok.cli.tables import set_aside_tables
        from regiontok.jobs.shards.build import ShardBuilder, ShardOptions
        from regiontok.jobs.shards.inputs import files_and_tars, images_of_tars

        options = ShardOptions(
            segmenter=segmenter,
            boxes=boxes,
            classes=classes,
            images_per_shard=images_per_shard,
            min_edge=min_edge,
            masks=masks,
        )
        files, tars = files_and_tars(images, out, note=warn)
        total = len(files) + images_of_tars(tars, out)
        new_tars = -(-len(files) // images_per_shard)
        plan = {"images": total, "shards": new_tars + len(tars), "out": str(out)}
        builder = ShardBuilder(out, options)
        if dry_run:
            closing_json({"command": "shards", "dry_run": True, **plan})
            return
        regions = 0

        def add(image: object) -> None:
            nonlocal regions
            regions += getattr(image, "regions", 0)

        count = tally(
            builder.build(files, tars),
            total=total,
            name=lambda image: image.name,
            go_on="the same command goes on",
            on_done=add,
        )
        print_tables(set_aside_tables(count.failed))
        say(f"{count.summary()}; {plan['shards']} shards in {out}, {builder.classes.count} classes")
        closing_json(
            {
                "command": "shards",
                **plan,
                "done": count.done,
                "resumed": count.resumed,
                "new_regions": regions,
                "classes": builder.classes.count,
                "failed": count.failed,
                "set_aside": len(count.failed),
            }
        )
    raise typer.Exit(1 if count.failed else 0)

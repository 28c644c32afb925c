"""`regiontok probe regions`: k-NN and linear probes of regions of any labelled set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import Device, Out
from regiontok.cli.terminal import clear_errors, closing_json, note, print_tables

SHARES = ("accuracy", "low", "high", "majority", "chance")  # what the closing line says of a row


def probe_regions(
    encoders: Annotated[
        list[str] | None,
        typer.Argument(help="Encoder specs, short names, hub names or folders."),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="Labelled regions: scenes(400, labels='shape'), world(400, labels='shape'), a "
            "folder of shards, a JSON in COCO's form, a folder of label maps, or a spec such as "
            "stored('masks/')."
        ),
    ] = "scenes(400, labels='shape')",
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the photos, for all but generated pictures and shards."),
    ] = None,
    test: Annotated[
        str, typer.Option(help="A set of its own to test on, as --data; without it, a share.")
    ] = "",
    test_images: Annotated[
        Path | None, typer.Option(help="Folder of the photos of --test.")
    ] = None,
    support: Annotated[
        str, typer.Option(help="masks, or boxes around them: what a region covers.")
    ] = "masks",
    layers: Annotated[
        str,
        typer.Option(help="Layers: numbers with commas, all, or all:4 (every fourth)."),
    ] = "",
    control: Annotated[
        bool, typer.Option("--control", help="Also judge the same networks with random weights.")
    ] = False,
    region_rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of an exported RICE encoder whose region layer is judged, too; may be "
            "given several times."
        ),
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="Only this probe: knn, logistic or ridge; may be given several times."),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Neighbours of k-NN.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Number of splits of the images.")] = 1,
    test_share: Annotated[
        float, typer.Option(help="Share of the images that test, between 0 and 1.")
    ] = 0.5,
    fewest: Annotated[int, typer.Option(min=1, help="Images that a class lies in at least.")] = 4,
    patches: Annotated[
        int, typer.Option(min=0, help="Patch tokens of an image at most; 0: regions alone.")
    ] = 32,
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples of the bootstrap over test images.")
    ] = 1000,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps rows of features; default: OUT/rows.")
    ] = None,
    out: Out = Path("region-probe"),
    device: Device = "cpu",
) -> None:
    """Ask what frozen regions know: how many neighbours or a linear classifier name rightly.

    The cheap probe: nothing of the encoder learns. Majority and chance stand beside each figure;
    intervals are over images. Rows of features are kept, so that another probe costs seconds.

    Examples:

    `regiontok probe regions lite filters --data "scenes(400, labels='shape')" --seeds 3`

    `regiontok probe regions lite --data annotations.json --images photos/ --support boxes`

    `regiontok probe regions run/encoder --region-rows run/encoder --data held-out-shards/`
    """
    with clear_errors("rows that were made are kept; give the same command again"):
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import set_aside_tables
        from regiontok.jobs.probe import regions as job
        from regiontok.jobs.probe.regions_report import result_tables, write_results
        from regiontok.probe.regions.sources import labelled_set

        options = job.RegionProbeOptions(
            probes=tuple(probe or job.PROBES),
            k=k,
            seeds=seeds,
            test_share=test_share,
            fewest=fewest,
            patches=patches,
            resamples=resamples,
            cache=cache or out / "rows",
        )
        named = job.judged_subjects(
            encoders or [],
            layers=layers,
            control=control,
            region_rows=region_rows or [],
            device=device,
        )
        regions = labelled_set(data, images, support)  # type: ignore[arg-type]
        tests = labelled_set(test, test_images, support) if test else None  # type: ignore[arg-type]
        total = len(named) * (len(regions) + (len(tests) if tests else 0))
        with counting("images", total) as tick:
            result = job.probe_regions(named, regions, options, test=tests, tick=tick)
        about = {
            "command": "probe regions",
            "data": data,
            "support": support,
            "test": test,
            "k": k,
            "seeds": seeds,
            "test_share": test_share,
            "fewest": fewest,
            "patches": patches,
        }
        write_results(result, out, about)
        print_tables(result_tables(result))
        if reasons := [f"{count} {reason}" for reason, count in result.left_out.items()]:
            note(f"left out: {', '.join(reasons)}")
        if result.rare:
            note(f"{result.rare} regions are of classes that lie in fewer than {fewest} images")
        print_tables(set_aside_tables(result.failed))
        rows = [
            {name: row.report()[name] for name in ("encoder", "tokens", "probe", *SHARES)}
            for row in result.rows
        ]
        closing_json({**about, "rows": rows, "set_aside": len(result.failed), "out": str(out)})
    raise typer.Exit(1 if result.failed else 0)

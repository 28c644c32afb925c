"""`regiontok probe pictures`: PCA of a clip's tokens, regions on a sphere, distances of tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import Device, Encoder, Out, Photos, command_group, with_json
from regiontok.cli.terminal import clear_errors, closing_json, look_at, print_tables, warn

pictures_app = command_group(
    "Pictures of what an encoder sees: `regiontok probe pictures pca CLIP --encoder ENCODER`."
)

Encoders = Annotated[
    list[str], typer.Argument(help="Encoder specs, short names, hub names or folders.")
]
Data = Annotated[
    str, typer.Option(help="Labelled regions, as `regiontok probe regions` takes them.")
]
DataPhotos = Annotated[
    Path | None, typer.Option("--images", help="Folder of the photos of --data.")
]


@pictures_app.command("pca")
@with_json
def pca(
    clip: Annotated[
        str, typer.Argument(help="A video, an animation, or a folder of frames of one size.")
    ],
    encoder: Encoder = "lite",
    size: Annotated[
        int, typer.Option(min=0, help="Side of the encoder's canvas in pixels; 0: its own.")
    ] = 0,
    basis: Annotated[
        str, typer.Option(help="Frames that the components are fitted on: joint (all) or first.")
    ] = "joint",
    solver: Annotated[
        str, typer.Option(help="exact, or randomised, which is faster for wide features.")
    ] = "exact",
    fps: Annotated[
        float, typer.Option(min=0, help="Frames a second that are taken of a video; 0: all.")
    ] = 0,
    count: Annotated[int, typer.Option(min=1, help="Frames of a sheet at most.")] = 6,
    longest: Annotated[
        int, typer.Option(min=16, help="Pixels along the longer side of a frame.")
    ] = 480,
    out: Out = Path("pca.webp"),
    device: Device = "cpu",
) -> None:
    """Colour the tokens of a clip's frames by their three principal components.

    All frames share one basis and one scale: equal colours mean equal features. --out is a .webp or
    .gif, an animation with the photo beside its tokens, or a .png, a sheet of some frames. Signs
    are fixed, so that two runs have equal colours.

    Examples:

    `regiontok probe pictures pca clip.mp4 --encoder lite --out pca.webp`

    `regiontok probe pictures pca frames/ --encoder run/encoder --size 2048 --out pca.png`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.core.clip import Clip
        from regiontok.jobs.probe.clip_pca import coloured_clip, save_clip
        from regiontok.settings import registry
        from regiontok.system.drawn import check_drawing_place
        from regiontok.tokenizer.regionizer import resolve_encoder

        check_drawing_place(out)
        network = resolve_encoder(encoder).on(device)
        network = network.at_size(size) if size else network
        frames = Clip.of(clip, fps or None)
        with counting("frames", len(frames)) as tick:
            coloured = coloured_clip(network, frames, fitted=basis, solver=solver, tick=tick)  # type: ignore[arg-type]
        name = registry.render(network)
        save_clip(coloured, out, title=f"PCA of {name}", most=count, longest=longest)
        look_at(out)
        closing_json(
            {
                "command": "probe pictures pca",
                "encoder": name,
                "frames": len(frames),
                "grid": list(coloured.grids[0].frame.grid),
                "basis": basis,
                "solver": solver,
                "shares": coloured.basis.shares.tolist(),
                "out": str(out),
            }
        )


@pictures_app.command("sphere")
@with_json
def sphere(
    encoders: Encoders,
    data: Data = "scenes(100, labels='colour')",
    images: DataPhotos = None,
    most: Annotated[int, typer.Option(min=8, help="Regions at most, drawn by seed.")] = 2000,
    fewest: Annotated[int, typer.Option(min=1, help="Images that a class lies in.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the drawing and of t-SNE.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps rows of features, as of `regions`.")
    ] = None,
    out: Out = Path("sphere.html"),
    device: Device = "cpu",
) -> None:
    """Lay labelled regions onto a sphere that turns: one HTML page, which needs no network.

    t-SNE gives three coordinates; each point is then moved to distance 1 from their mean. Several
    encoders are buttons of one page. Needs `pip install 'regiontok[sklearn]'`.

    Examples:

    `regiontok probe pictures sphere lite filters --data "scenes(100, labels='colour')"`

    `regiontok probe pictures sphere lite --data annotations.json --images photos/`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.jobs.probe.regions import judged_subjects
        from regiontok.jobs.probe.sphere import sphere_of
        from regiontok.jobs.probe.sphere_page import sphere_page
        from regiontok.probe.regions.judge import frequent_classes
        from regiontok.probe.regions.sources import labelled_set
        from regiontok.probe.regions.table import kept_table
        from regiontok.system.files import replacing

        named = judged_subjects(encoders, device=device)
        regions = labelled_set(data, images)
        names = tuple(Path(regions.name(index)).name for index in range(len(regions)))
        spheres = []
        with counting("images", len(named) * len(regions)) as tick:
            for subject in named:
                table = kept_table(subject, regions, cache=cache, tick=tick)
                common = frequent_classes(table.regions, fewest)
                spheres.append(
                    sphere_of(subject.title, common, table.classes, names, most=most, seed=seed)
                )
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as path:
            path.write_text(sphere_page(spheres, data=Path(data).name), encoding="utf-8")
        look_at(out)
        closing_json(
            {
                "command": "probe pictures sphere",
                "encoders": [each.name for each in spheres],
                "regions": len(spheres[0].classes),
                "classes": len(set(spheres[0].classes)),
                "out": str(out),
            }
        )


@pictures_app.command("distances")
@with_json
def distances(
    encoders: Encoders,
    images: Photos,
    data: Annotated[
        str, typer.Option(help="Labelled regions, whose distances within a class are drawn, too.")
    ] = "",
    data_images: Annotated[
        Path | None, typer.Option(help="Folder of the photos of --data.")
    ] = None,
    layers: Annotated[
        str, typer.Option(help="Layers: numbers with commas, all, or all:4 (every fourth).")
    ] = "",
    out: Out = Path("distances"),
    device: Device = "cpu",
) -> None:
    """Draw how far the tokens of an image lie apart, and the regions of a class.

    Two forms: that of RICE's authors, all ordered pairs of 1 - cosine scaled from the smallest to
    the largest, and the same unscaled. Tokens in front of the last norm, which the authors take,
    are layer -1 of a RICE, MLCD or CLIP. Writes `distances.png` and `distances.csv`. Needs `pip
    install 'regiontok[plot]'`.

    Examples:

    `regiontok probe pictures distances lite filters --images photos/`

    `regiontok probe pictures distances run/encoder --images photos/ --data annotations.json
    --data-images photos/`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.cli.tables import set_aside_tables
        from regiontok.data.collect import collect
        from regiontok.jobs.diagnose.figure import first_pictures
        from regiontok.jobs.probe import distances as job
        from regiontok.jobs.probe.regions import judged_subjects
        from regiontok.probe.regions.sources import labelled_set
        from regiontok.probe.regions.table import kept_table
        from regiontok.system.drawn import mark_options
        from regiontok.system.files import adding

        photos = collect(images, sys.stdin, note=warn)
        pictures, failed = first_pictures(photos, len(photos))
        named = judged_subjects(encoders, layers=layers, device=device)
        regions = labelled_set(data, data_images) if data else None
        found: list[job.Distances] = []
        with counting("images", None) as tick:
            for subject in named:
                encoder = subject.encoder  # type: ignore[attr-defined]
                found.append(job.token_distances(subject.title, encoder, pictures, tick=tick))
            for subject in named if regions else ():
                table = kept_table(subject, regions, most=0, tick=tick)  # type: ignore[arg-type]
                found.append(job.class_distances(subject.title, table.regions))
        with adding(out, last="distances.csv") as folder:
            job.plot(found).save(folder / "distances.png", **mark_options("PNG"))
            (folder / "distances.csv").write_text(job.comma_separated(found), encoding="utf-8")
        print_tables(set_aside_tables(failed))
        look_at(out / "distances.png")
        closing_json(
            {
                "command": "probe pictures distances",
                "mean": [
                    {"encoder": each.name, "of": each.of, "mean": each.mean, "sets": each.sets}
                    for each in found
                ],
                "set_aside": len(failed),
                "out": str(out),
            }
        )
    raise typer.Exit(1 if failed else 0)

"""`regiontok masks`: compute pixel masks once, keep them, look after the store."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regiontok.cli.options import (
    Batch,
    DryRun,
    OptionalImageRoot,
    Segmenter,
    StoreOut,
    command_group,
    group_with_default,
    with_json,
)
from regiontok.cli.pieces import (
    EngineName,
    EngineOption,
    PieceSize,
    RayAddress,
    Where,
    do_tars,
    stage_line,
)
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    print_tables,
    say,
    say_names,
    warn,
)

if TYPE_CHECKING:
    from regiontok.jobs.masks.build import MaskOutcome


masks_app = command_group(
    "Compute pixel masks once and keep them: "
    "`regiontok masks IMAGES... --segmenter SPEC --out STORE`.",
    cls=group_with_default("build"),
)
Store = Annotated[
    Path, typer.Argument(help="What `regiontok masks` wrote: a store, or the folder for tars.")
]
SkipCorrupt = Annotated[
    bool,
    typer.Option(
        "--skip-corrupt",
        help="Go on without corrupt files of a store: build computes their images again, merge "
        "leaves them out (exit status 1).",
    ),
]


@masks_app.command("build")
@with_json
def masks_build(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, globs or - for a list; WebDataset .tar files or folders; a "
            "LLaVA .json."
        ),
    ],
    segmenter: Segmenter,
    out: StoreOut,
    images: OptionalImageRoot = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that compute, one thread each.")
    ] = 1,
    batch: Batch = 8,
    store: Annotated[
        bool, typer.Option("--store", help="Put the masks of tars into a store, too.")
    ] = False,
    piece: PieceSize = 1024,
    engine: EngineOption = EngineName.local,
    ray_address: RayAddress = "",
    skip_corrupt: SkipCorrupt = False,
    dry_run: DryRun = False,
) -> None:
    """Compute the masks that a store does not have yet; run it again after any stop.

    A bad image is set aside, named in the store's `set_aside.json` and counted (exit status 1), and
    the others are done. Regions read the store as the segmenter `stored('STORE')`.

    Tars get side-cars instead, in the folder --out: their images go piece by piece, here or on a
    Ray cluster, as those of `regiontok curate` do.

    Examples:

    `regiontok masks photos/ --segmenter felzenszwalb --out store --workers 8`

    `regiontok masks llava.json --images data/ --segmenter "slic(100)" --out store`

    `regiontok masks shards/ --segmenter sam --out masks --engine ray --ray-address auto`

    `regiontok tokenize photos/ --segmenter "stored('store')" --regions "segments(0.07)"`
    """
    with clear_errors():
        if _gets_sidecars(paths, out, store):
            from regiontok.jobs.tars.masks import begin_masks

            job = begin_masks(paths, segmenter, out, piece)
            where = Where(engine, workers, ray_address)
            raise typer.Exit(do_tars(job, "masks", where, dry_run=dry_run))
        from regiontok.jobs.masks.build import build_store, plan_store
        from regiontok.jobs.masks.image_sources import image_sources
        from regiontok.jobs.masks.store_state import rename_corrupt

        sources = image_sources(paths, images, sys.stdin, note=warn)
        if dry_run:
            plan = plan_store(segmenter, sources, out)
            say_names(source.name for source in sources)
            closing_json({"command": "masks", "dry_run": True, **plan, "out": str(out)})
            return
        for problem in rename_corrupt(out) if skip_corrupt else ():
            warn(f"set aside as *.corrupt: {problem}")
        outcomes = build_store(segmenter, sources, out, workers=workers, batch=batch)
        failed = _show_outcomes(outcomes, len(sources), out)
    raise typer.Exit(1 if failed else 0)


def _gets_sidecars(paths: list[str], out: Path, store: bool) -> bool:
    """True if tars alone are named, and neither a flag nor what lies there asks for a store."""
    from regiontok.jobs.tars.job import are_tars
    from regiontok.maskstore.layout import is_store

    return not store and not is_store(out) and are_tars(paths)


def _show_outcomes(outcomes: Iterable[MaskOutcome], total: int, out: Path) -> int:
    """Show progress, then what the store holds; return how many images were set aside."""
    from regiontok.cli.progress import tally
    from regiontok.cli.tables import set_aside_tables
    from regiontok.jobs.masks.store_state import store_info

    count = tally(
        outcomes,
        total=total,
        name=lambda outcome: outcome.source.name,
        go_on="the same command goes on",
    )
    print_tables(set_aside_tables(count.failed))
    say(f"{count.summary()}; masks in {out}")
    closing_json(
        {
            "command": "masks",
            "named": total,
            "done": count.done,
            "resumed": count.resumed,
            "failed": count.failed,
            **store_info(out),
            "set_aside": len(count.failed),
        }
    )
    return len(count.failed)


@masks_app.command("info")
@with_json
def masks_info(store: Store) -> None:
    """Say whose masks a store holds, how many images, and how large it is.

    Example: `regiontok masks info store`
    """
    with clear_errors():
        from regiontok.jobs.masks.store_state import read_set_aside, store_info
        from regiontok.jobs.tars.masks import has_masks_of_tars, masks_job_in

        if has_masks_of_tars(store):
            status = masks_job_in(store).status()
            for stage in status["stages"]:
                say(stage_line(stage))
            closing_json({"command": "masks info", "out": str(store), **status})
            return
        info = store_info(store)
        for name, value in info.items():
            say(f"{name}: {value}")
        for reason in read_set_aside(store).values():
            say(f"set aside: {reason}")
        closing_json({"command": "masks info", **info})


@masks_app.command("verify")
@with_json
def masks_verify(store: Store) -> None:
    """Read every file of a store whole, and name what is corrupt (exit status 1).

    Example: `regiontok masks verify store`
    """
    with clear_errors():
        from regiontok.jobs.tars.masks import has_masks_of_tars
        from regiontok.maskstore.maintenance import verify

        if has_masks_of_tars(store):
            raise typer.Exit(1 if _verify_sidecars(store) else 0)
        verdicts = list(verify(store))
        corrupt = [str(verdict.problem) for verdict in verdicts if verdict.problem]
        for problem in corrupt:
            warn(problem)
        images = sum(verdict.images for verdict in verdicts if not verdict.problem)
        say(
            f"{images} images in {len(verdicts)} files can be read, {len(corrupt)} files are "
            "corrupt"
        )
        closing_json(
            {
                "command": "masks verify",
                "files": len(verdicts),
                "parts": sum(verdict.is_part for verdict in verdicts),
                "images": images,
                "corrupt": corrupt,
            }
        )
    raise typer.Exit(1 if corrupt else 0)


def _verify_sidecars(out: Path) -> int:
    """Read every file of the masks of tars, and name what is wrong; gives how many."""
    from dataclasses import asdict

    from regiontok.jobs.tars.masks import masks_job_in, verify_masks

    findings = [asdict(finding) for finding in verify_masks(masks_job_in(out))]
    for finding in findings:
        warn(f"{finding['file']}: {finding['problem']}")
    say(f"{out}: {len(findings)} findings" if findings else f"{out}: all is whole and done")
    closing_json({"command": "masks verify", "out": str(out), "findings": findings})
    return len(findings)


@masks_app.command("merge")
@with_json
def masks_merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores of one segmenter.")],
    out: StoreOut,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Put the images of several stores of one segmenter into one.

    Example: `regiontok masks merge store-a store-b --out store`
    """
    with clear_errors():
        from regiontok.jobs.masks.store_state import store_info
        from regiontok.maskstore.maintenance import merge

        left_out = [
            str(verdict.problem) for verdict in merge(stores, out, skip_corrupt=skip_corrupt)
        ]
        for problem in left_out:
            warn(f"left out: {problem}")
        info = store_info(out)
        say(f"{info['images']} images in {out}")
        closing_json({"command": "masks merge", **info, "left_out": left_out})
    raise typer.Exit(1 if left_out else 0)

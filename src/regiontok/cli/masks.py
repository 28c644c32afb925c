"""The `masks` commands: compute pixel masks once, keep them, look after the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from regiontok.cli.terminal import clear_errors, closing_json, settle, stderr, stdout


class _BuildByDefault(TyperGroup):
    """`masks photos/ --out store` is `masks build photos/ --out store`: a first word that is no
    sub-command is an image."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["build", *args]
        return super().parse_args(ctx, args)


masks_app = typer.Typer(
    cls=_BuildByDefault,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compute pixel masks once and keep them: `regiontok masks IMAGES... --segmenter SPEC --out STORE`.",
)
Store = Annotated[Path, typer.Argument(help="A store that `regiontok masks` wrote.")]


@masks_app.command("build")
def masks_build(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, globs, - for a list; WebDataset .tar files or folders; a LLaVA .json."
        ),
    ],
    segmenter: Annotated[
        str,
        typer.Option(
            help="Segmenter spec: felzenszwalb, slic, sam(...); `regiontok ls segmenter`."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The store: a new folder, or one to go on with.")],
    images: Annotated[
        Path | None, typer.Option(help="For a LLaVA JSON: the folder its image paths begin in.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that compute, one thread each.")
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Pictures segmented together.")] = 8,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt",
            help="Put corrupt files of the store aside and compute their images again.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
) -> None:
    """Compute the masks a store does not have yet; run it again after any stop.

    A bad image is set aside, named in the store's `set_aside.json` and counted (exit status 1); the
    others are done.

    Examples:

    `regiontok masks photos/ --segmenter felzenszwalb --out store --workers 8`

    `regiontok masks llava.json --images data/ --segmenter "slic(100)" --out store`

    `regiontok tokenize photos/ --segmenter "stored('store')" --regions "segments(0.07) |
    sort('com')"`
    """
    with clear_errors():
        from regiontok.jobs.masks import masks as command
        from regiontok.jobs.masks.sources import sources

        found = sources(paths, images, sys.stdin)
        if dry_run:
            planned = command.plan(segmenter, found, out)
            for source in found[:20]:
                stdout().print(source.name, highlight=False, markup=False)
            if len(found) > 20:
                stdout().print(f"... and {len(found) - 20} more")
            closing_json({"command": "masks", "dry_run": True, **planned, "out": str(out)})
            return
        corrupt = command.recover(out) if skip_corrupt else []
        for problem in corrupt:
            stderr().print(
                f"set aside as *.corrupt: {problem}",
                style="red",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        failed = _watch_masks(
            command.build(segmenter, found, out, workers=workers, batch=batch), len(found), out
        )
    raise typer.Exit(1 if failed else 0)


def _watch_masks(settled: Any, total: int, out: Path) -> int:
    from regiontok.jobs.masks.masks import info

    found = settle(settled, total, lambda one: one.source.name)
    stdout().print(
        f"{found.done} images done ({found.resumed} of them before), {len(found.failed)} set aside; masks in {out}",
        highlight=False,
    )
    kept = {key: value for key, value in info(out).items() if key != "set_aside"}
    closing_json(
        {
            "command": "masks",
            "named": total,
            "done": found.done,
            "resumed": found.resumed,
            "set_aside": len(found.failed),
            "failed": found.failed,
            **kept,
        }
    )
    return len(found.failed)


@masks_app.command("info")
def masks_info(store: Store) -> None:
    """Say whose masks a store holds, how many images, how large.

    Example: `regiontok masks info store`
    """
    with clear_errors():
        from regiontok.jobs.masks.masks import info, set_aside

        found = info(store)
        for name, value in found.items():
            stdout().print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)
        for why in set_aside(store).values():
            stdout().print(f"set aside: {why}", highlight=False, markup=False, soft_wrap=True)
        closing_json({"command": "masks info", **found})


@masks_app.command("verify")
def masks_verify(store: Store) -> None:
    """Read every file of a store whole; name what is corrupt (exit status 1).

    Example: `regiontok masks verify store`
    """
    with clear_errors():
        from regiontok.maskstore.care import verify

        found = list(verify(store))
        corrupt = [str(verdict.problem) for verdict in found if verdict.problem]
        for problem in corrupt:
            stderr().print(problem, style="red", highlight=False, markup=False, soft_wrap=True)
        unsorted = sum(verdict.part for verdict in found)
        counts = {
            "files": len(found),
            "parts": unsorted,
            "images": sum(v.images for v in found if not v.problem),
        }
        stdout().print(
            f"{counts['images']} images in {len(found)} files can be read, {len(corrupt)} files are corrupt",
            highlight=False,
        )
        closing_json({"command": "masks verify", **counts, "corrupt": corrupt})
    raise typer.Exit(1 if corrupt else 0)


@masks_app.command("merge")
def masks_merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores of one segmenter.")],
    out: Annotated[Path, typer.Option(help="The store that gets all their images.")],
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave corrupt files out (exit status 1).")
    ] = False,
) -> None:
    """Put the images of several stores of one segmenter into one.

    Example: `regiontok masks merge store-a store-b --out store`
    """
    with clear_errors():
        from regiontok.jobs.masks.masks import info
        from regiontok.maskstore.care import merge

        left_out = [
            str(verdict.problem) for verdict in merge(stores, out, skip_corrupt=skip_corrupt)
        ]
        for problem in left_out:
            stderr().print(
                f"left out: {problem}", style="red", highlight=False, markup=False, soft_wrap=True
            )
        found = info(out)
        stdout().print(f"{found['images']} images in {out}", highlight=False)
        closing_json({"command": "masks merge", **found, "left_out": left_out})
    raise typer.Exit(1 if left_out else 0)

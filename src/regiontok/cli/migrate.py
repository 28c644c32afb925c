"""`regiontok migrate`: what other projects left on disk, into this one's forms."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.terminal import clear_errors, closing_json, settle, stdout

migrate_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Read what other projects left on disk: `regiontok migrate og_llava DIR --images DATA --out STORE`.",
)


class MaskOrder(StrEnum):
    """The orders that `--order` takes."""

    number = "number"
    name = "name"


@migrate_app.callback()
def _several() -> None:
    """Sub-commands by their names, though there is one so far."""


@migrate_app.command("og_llava")
def migrate_og_llava(
    folder: Annotated[
        Path,
        typer.Argument(help="The folder that holds partition_0, partition_1, ..., or one of them."),
    ],
    images: Annotated[Path, typer.Option(help="The folder where the images' paths begin.")],
    out: Annotated[Path, typer.Option(help="The mask store: a new folder, or one to go on with.")],
    order: Annotated[
        MaskOrder,
        typer.Option(
            help="Of an image's masks: by number, or by name as text, as the release reads them."
        ),
    ] = MaskOrder.number,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
) -> None:
    """OG-LLaVA's mask folders (a bool .npy a mask, or one of all masks) into a mask store; run it
    again after any stop.

    An image whose files will not do is set aside, named in the store's `set_aside.json` and counted
    (exit status 1).

    Example: `regiontok migrate og_llava arrays/ --images data/ --out store`
    """
    with clear_errors():
        from regiontok.jobs.masks import migrate as command

        planned = command.plan(folder, images, out, order=order.value)
        if dry_run:
            for name, value in planned.items():
                stdout().print(f"{name}: {value}", highlight=False)
            closing_json(
                {"command": "migrate og_llava", "dry_run": True, **planned, "out": str(out)}
            )
            return
        failed = _watch(command.migrate(folder, images, out, order=order.value), planned, out)
    raise typer.Exit(1 if failed else 0)


def _watch(settled: Any, planned: dict[str, Any], out: Path) -> int:
    from regiontok.jobs.masks.masks import info

    found = settle(settled, planned["images"], lambda one: one.folder.name)
    kept = {key: value for key, value in info(out).items() if key != "set_aside"}
    stdout().print(
        f"{found.done} images done ({found.resumed} of them before), {len(found.failed)} set aside; masks in {out}",
        highlight=False,
    )
    if found.done:
        before, after = found.size / found.done / 2**20, kept["bytes_per_image"] / 1024
        stdout().print(f"an image took {before:.1f} MiB and takes {after:.1f} kB", highlight=False)
    closing_json(
        {
            "command": "migrate og_llava",
            "done": found.done,
            "resumed": found.resumed,
            "set_aside": len(found.failed),
            "failed": found.failed,
            "bytes_before": found.size,
            **kept,
        }
    )
    return len(found.failed)

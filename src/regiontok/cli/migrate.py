"""`regiontok migrate`: what other projects left on disk, read into this one's forms."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regiontok.cli.options import DryRun, ImageRoot, StoreOut, command_group, with_json
from regiontok.cli.terminal import clear_errors, closing_json, print_tables, say

if TYPE_CHECKING:
    from regiontok.jobs.migrate.og_llava import MigrateOutcome

migrate_app = command_group(
    "Read what other projects left on disk: "
    "`regiontok migrate og_llava DIR --images DATA --out STORE`."
)


class MaskOrder(StrEnum):
    """The orders that `--order` takes."""

    number = "number"
    name = "name"


@migrate_app.callback()
def _keep_sub_commands() -> None:
    """A callback keeps the sub-command's name, though there is only one so far."""


@migrate_app.command("og_llava")
@with_json
def migrate_og_llava(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder that holds partition_0, partition_1, ..., or one of them."),
    ],
    images: ImageRoot,
    out: StoreOut,
    order: Annotated[
        MaskOrder,
        typer.Option(
            help="Order of an image's masks: number, or name (file names as text, as the release "
            "reads them)."
        ),
    ] = MaskOrder.number,
    dry_run: DryRun = False,
) -> None:
    """Read OG-LLaVA's mask folders into a mask store; run it again after any stop.

    A folder holds a bool .npy for each mask of an image, or one of all its masks. An image whose
    files will not do is set aside, named in the store's `set_aside.json` and counted (exit status
    1).

    Example: `regiontok migrate og_llava arrays/ --images data/ --out store`
    """
    with clear_errors():
        from regiontok.jobs.migrate import og_llava as job

        plan = job.plan_og_llava(folder, images, out, order=order.value)
        if dry_run:
            for name, value in plan.items():
                say(f"{name}: {value}")
            closing_json({"command": "migrate og_llava", "dry_run": True, **plan, "out": str(out)})
            return
        outcomes = job.migrate_og_llava(folder, images, out, order=order.value)
        failed = _show_outcomes(outcomes, plan["images"], out)
    raise typer.Exit(1 if failed else 0)


def _show_outcomes(outcomes: Iterable[MigrateOutcome], total: int, out: Path) -> int:
    """Show progress, then what the masks take; return how many images were set aside."""
    from regiontok.cli.progress import tally
    from regiontok.cli.tables import set_aside_tables
    from regiontok.jobs.masks.store_state import store_info

    sizes: list[int] = []
    count = tally(
        outcomes,
        total=total,
        name=lambda outcome: outcome.folder.name,
        go_on="the same command goes on",
        on_done=lambda outcome: sizes.append(outcome.size),
    )
    print_tables(set_aside_tables(count.failed))
    info = store_info(out)
    say(f"{count.summary()}; masks in {out}")
    if count.done:
        array_mib, stored_kb = sum(sizes) / count.done / 2**20, info["bytes_per_image"] / 1024
        say(f"an image took {array_mib:.1f} MiB and takes {stored_kb:.1f} kB")
    closing_json(
        {
            "command": "migrate og_llava",
            "done": count.done,
            "resumed": count.resumed,
            "failed": count.failed,
            "bytes_before": sum(sizes),
            **info,
            "set_aside": len(count.failed),
        }
    )
    return len(count.failed)

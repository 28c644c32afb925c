"""What commands share whose work goes piece by piece: engines, progress, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli.terminal import closing_json, print_tables, say

if TYPE_CHECKING:
    from regiontok.curate.engines.engine import Engine
    from regiontok.jobs.tars.job import TarJob


class EngineName(StrEnum):
    """The engines that `--engine` takes."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option("--engine", help="What does the pieces: processes here, or Ray tasks."),
]
RayAddress = Annotated[
    str,
    typer.Option("--ray-address", help="Of a running Ray cluster; without it one is started here."),
]
PieceSize = Annotated[
    int, typer.Option("--piece", min=1, help="Tars: images of a piece, the unit of work.")
]


@dataclass(frozen=True)
class Where:
    """Where pieces are done, as the options say.

    Attributes:
        engine: what does them.
        workers: processes, one thread each, or cores of a Ray cluster that is started.
        address: of a running Ray cluster; "" starts one.
    """

    engine: EngineName
    workers: int
    address: str

    @contextmanager
    def started(self) -> Iterator[Engine | None]:
        """The engine of all pieces; None leaves it to the number of processes."""
        from regiontok.curate.engines.ray import ray_cluster
        from regiontok.curate.sources import CurationError

        if self.engine is EngineName.ray:
            with ray_cluster(self.address, self.workers) as tasks:
                yield tasks
            return
        if self.address:
            raise CurationError("--ray-address goes with --engine ray")
        yield None


def do_tars(job: TarJob, command: str, where: Where, *, dry_run: bool) -> int:
    """Do what is missing of a job over tars, or say what that is; gives the exit status.

    Args:
        job: the job.
        command: the command's name, for its JSON.
        where: where pieces are done; one worker is this process.
        dry_run: True only says what is missing.
    """
    out, missing = str(job.curation.out), len(job.pieces.missing)
    if dry_run:
        status = job.status()
        say(f"{missing} pieces to do, of {status['images']} images in {status['tars']} tars")
        closing_json({"command": command, "dry_run": True, "out": out, "pieces": missing, **status})
        return 0
    failed = job.unreadable() + _done(job, where)
    _show(job, command, failed)
    return 1 if failed else 0


def _done(job: TarJob, where: Where) -> list[dict[str, str]]:
    """Do what is missing, on a bar; gives the pieces that failed."""
    from regiontok.cli.progress import tally

    workers = 0 if where.workers == 1 else where.workers
    with where.started() as engine:
        return tally(
            job.run(workers=workers, engine=engine),
            total=len(job.pieces.missing),
            name=lambda piece: f"{piece.name} ({piece.stage})",
            go_on="the same command goes on",
            unit=f"pieces of {job.pieces.name}",
        ).failed


def _show(job: TarJob, command: str, failed: list[dict[str, str]]) -> None:
    """Say what was done, and what could not be."""
    from regiontok.cli.tables import set_aside_tables

    print_tables(set_aside_tables(failed))
    status = job.status()
    for stage in status["stages"]:
        say(stage_line(stage))
    closing_json({"command": command, "out": str(job.curation.out), "failed": failed, **status})


def stage_line(stage: dict[str, Any]) -> str:
    """How far a stage that goes piece by piece is, in words."""
    is_done = stage["tars"] == stage["of_tars"]
    reasons = ", ".join(f"{number} {word}" for word, number in stage["set_aside"].items())
    left = "" if is_done else f", about {stage['seconds_left']:.0f} s of one process left"
    left += f", {stage['working']} pieces under way" if stage["working"] else ""
    return (
        f"{stage['name']}: {stage['tars']} of {stage['of_tars']} tars, {stage['images']} of "
        f"{stage['of_images']} images{left}" + (f"; {reasons}" if reasons else "")
    )

"""Write a split of the world, or the first pictures of it, into a new folder in one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regiontok.jobs.miniworld import benchmarks, data_sets
from regiontok.jobs.miniworld.clips import Got10k
from regiontok.jobs.miniworld.shards import Shards
from regiontok.jobs.miniworld.writer import Shown, Writer
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.kinds.twins import twins_of
from regiontok.miniworld.priors import priors
from regiontok.miniworld.world import WORLD_VERSION, World
from regiontok.system.choices import check_choice
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes

REPORT = "miniworld.json"
FORMATS: dict[str, type[Writer]] = {
    "folder": data_sets.Folder,
    "llava": data_sets.Llava,
    "coco": data_sets.Coco,
    "shards": Shards,
    "pope": benchmarks.Pope,
    "cvbench": benchmarks.Cvbench,
    "mmvp": benchmarks.Mmvp,
    "aro": benchmarks.Aro,
    "conme": benchmarks.Conme,
    "ocrbench": benchmarks.Ocrbench,
    "pixcv": benchmarks.Pixcv,
    "got10k": Got10k,
}


class ExportError(RegiontokError, ValueError):
    """A folder that the world cannot be written into."""


@dataclass(frozen=True)
class Export:
    """What is written, and how.

    Attributes:
        world: the split.
        format: a name of `FORMATS`.
        count: how many pictures; 0 for all of the split.

    Raises:
        ValueError: If there is no such format, or the split has not so many pictures.
    """

    world: World
    format: str = "folder"
    count: int = 0

    def __post_init__(self) -> None:
        check_choice("format", self.format, tuple(FORMATS))
        if not 0 <= self.count <= len(self.world):
            raise ValueError(
                f"the split {self.world.split} has {len(self.world)} pictures, "
                f"{self.count} cannot be written"
            )

    @property
    def pictures(self) -> int:
        """How many pictures are shown to the writer."""
        return self.count or len(self.world)


def check_out(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that holds anything; with `overwrite`, one that another command wrote.

    Raises:
        ExportError: See above.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / REPORT).is_file():
        raise ExportError(
            f"{out} is there and was not written by regiontok miniworld: name a new folder"
        )
    if not overwrite:
        raise ExportError(f"{out} holds a world already: name a new folder, or say --overwrite")


def export(
    settings: Export,
    out: Path,
    *,
    overwrite: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write the world; the folder appears when all is there, or not at all.

    Args:
        settings: what is written.
        out: the folder.
        overwrite: replace a world that is there.
        tick: called after every picture.

    Returns:
        The report, which is also written to `miniworld.json`: settings, and the answer priors.

    Raises:
        ExportError: If the folder holds something else.
    """
    check_out(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    asked: list[tuple[int, WorldQuestion]] = []
    with replacing(out) as folder:
        folder.mkdir()
        writer = FORMATS[settings.format](folder, settings.world)
        try:
            for shown in _shown(settings, writer):
                writer.add(shown)
                asked += [(shown.number, question) for question in shown.questions]
                if shown.twins is not None:
                    asked += [(shown.number, question) for question in shown.twins.questions]
                tick()
            writer.finish()
        finally:
            writer.close()
        report = {
            "format": settings.format,
            "world": asdict(settings.world),
            "world_version": WORLD_VERSION,
            "pictures": settings.pictures,
            "questions": len(asked),
            "priors": [prior._asdict() for prior in priors(asked)],
        }
        (folder / REPORT).write_bytes(json_bytes(report, indent=1))
    return report


def _shown(settings: Export, writer: Writer) -> Iterator[Shown]:
    """What the writer is shown, picture by picture."""
    world = settings.world
    for index in range(settings.pictures):
        picture = world[index]
        kinds = writer.kinds
        questions = questions_of(world, index, picture, kinds) if kinds else []
        twins = twins_of(world, index, picture) if writer.wants_twins else None
        yield writer.chosen(Shown(index, picture, questions, twins))

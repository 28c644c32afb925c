"""How far a curation has come: stage by stage, from the reports that lie in its folder."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from regiontok.curate.engines.engine import BEAT
from regiontok.curate.stage_files import HEARTBEAT, Stage, StageReport, is_done, read_report
from regiontok.curate.tars import Curation, Piece
from regiontok.system.parquet import ParquetError, open_parquet
from regiontok.system.strict_json import parse_json

DEAD = 3 * BEAT  # seconds without a sign of life after which nobody works on a piece any more
LOOKED_AT = 16  # waiting pieces that are asked how long they took


@dataclass(frozen=True)
class StageProgress:
    """How far one stage has come.

    Attributes:
        name: the stage.
        tars: tars whose file is there, of these settings.
        of_tars: how many tars there are.
        pieces: pieces that wait to be merged.
        images: images of the tars that are done and of the pieces that wait.
        of_images: how many images there are.
        working: pieces that somebody works on now, here or on another machine.
        set_aside: images of the done tars that are set aside, by reason.
        seconds: time that the images took, all processes together.
    """

    name: str
    tars: int
    of_tars: int
    pieces: int
    images: int
    of_images: int
    working: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def seconds_left(self) -> float:
        """Time that the rest takes one process at the same pace; 0 before anything is known."""
        return self.seconds / self.images * (self.of_images - self.images) if self.images else 0.0


def stage_progress(stage: Stage, curation: Curation) -> StageProgress:
    """How far a stage has come, by the files that are there; also while other processes work."""
    in_pieces = _names(curation.out / "pieces")
    done: list[StageReport] = []
    waiting: list[Piece] = []
    set_aside: Counter[str] = Counter()
    for tar in curation.tars:
        report = read_report(stage, curation.out, tar)
        if report is not None and is_done(stage, curation.out, tar):
            done.append(report)
            set_aside.update(report.set_aside)
        else:
            pieces = curation.pieces(tar)
            waiting += [p for p in pieces if stage.piece_path(curation.out, p).name in in_pieces]
    return StageProgress(
        name=stage.name,
        tars=len(done),
        of_tars=len(curation.tars),
        pieces=len(waiting),
        images=sum(report.images for report in done)
        + sum(piece.stop - piece.start for piece in waiting),
        of_images=sum(tar.images for tar in curation.tars),
        working=_working(stage, curation, in_pieces),
        set_aside=dict(set_aside),
        seconds=sum(report.seconds for report in done) + _seconds(stage, curation, waiting),
    )


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()


def _working(stage: Stage, curation: Curation, in_pieces: frozenset[str]) -> int:
    """How many heartbeats of a stage are young; that of a killed process grows old."""
    count, ending = 0, f".{stage.hash[:8]}{HEARTBEAT}"
    for name in in_pieces:
        if name.endswith(ending):
            with suppress(OSError):  # the piece is done
                age = time.time() - (curation.out / "pieces" / name).stat().st_mtime
                count += age < DEAD
    return count


def _seconds(stage: Stage, curation: Curation, waiting: list[Piece]) -> float:
    """The time that waiting pieces took, by a few of them."""
    known = []
    for piece in waiting[:: max(1, len(waiting) // LOOKED_AT)][:LOOKED_AT]:
        with suppress(OSError, ParquetError):  # it was merged just now
            path = stage.piece_path(curation.out, piece)
            with open_parquet(path, stage.schema, stage.format) as file:
                known.append(float(file.metadata.metadata[b"seconds"]))
    return sum(known) / len(known) * len(waiting) if known else 0.0


def earlier_pace(curation: Curation, name: str) -> float | None:
    """Seconds of one process an image, by what a stage has done here, with whatever settings.

    Args:
        curation: the tars.
        name: the stage.

    Returns:
        The pace; None where nothing of it is there.
    """
    seconds, images = 0.0, 0
    for tar in curation.tars:
        try:
            stated = parse_json((curation.out / f"{tar.name}.{name}.json").read_bytes())
            seconds, images = seconds + stated["seconds"], images + stated["images"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return seconds / images if images else None

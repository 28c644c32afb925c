"""How far a curation has come: stage by stage, from the reports that lie in its folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from regiontok.curate.stage_files import Stage, missing_pieces, read_report
from regiontok.curate.tars import Curation


@dataclass(frozen=True)
class StageProgress:
    """How far one stage has come.

    Attributes:
        name: the stage.
        tars: tars whose file is there, of these settings.
        of_tars: how many tars there are.
        pieces: pieces that wait to be merged.
        images: images of the tars that are done.
        of_images: how many images there are.
        set_aside: images of them that are set aside, by reason.
        seconds: time that the done tars took, all processes together.
    """

    name: str
    tars: int
    of_tars: int
    pieces: int
    images: int
    of_images: int
    set_aside: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def seconds_left(self) -> float:
        """Time that the rest takes one process at the same pace; 0 before anything is known."""
        return self.seconds / self.images * (self.of_images - self.images) if self.images else 0.0


def stage_progress(stage: Stage, curation: Curation) -> StageProgress:
    """How far a stage has come, by the files that are there."""
    done, waiting = [], 0
    set_aside: Counter[str] = Counter()
    for tar in curation.tars:
        missing = missing_pieces(stage, curation, tar)
        report = read_report(stage, curation.out, tar)
        if report is not None and report.hash == stage.hash and not missing:
            done.append(report)
            set_aside.update(report.set_aside)
        else:
            waiting += len(curation.pieces(tar)) - len(missing)
    return StageProgress(
        name=stage.name,
        tars=len(done),
        of_tars=len(curation.tars),
        pieces=waiting,
        images=sum(report.images for report in done),
        of_images=sum(tar.images for tar in curation.tars),
        set_aside=dict(set_aside),
        seconds=sum(report.seconds for report in done),
    )

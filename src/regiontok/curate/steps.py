"""The steps of a curation: a stage that goes piece by piece, a barrier, or one that still waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from regiontok.curate.cluster import CentroidReport, Tell
from regiontok.curate.duplicates import KeepReport
from regiontok.curate.engines.engine import Work
from regiontok.curate.progress import StageProgress, stage_progress
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import Stage, missing_pieces
from regiontok.curate.tars import Curation, Piece

Report = KeepReport | CentroidReport


def _nothing() -> None:
    """What most stages do before and after their pieces."""


@dataclass(frozen=True)
class PieceStep:
    """A stage that goes piece by piece.

    Attributes:
        stage: the stage.
        curation: the tars, cut into its pieces.
        work: writes a piece.
        before: is called before the first missing piece is begun.
        after: is called when all pieces are there.
        gpus: GPUs that a piece needs.
        behind: the stage that must have done a tar before a piece of it is begun; "" where it is
            known to be done.
    """

    stage: Stage
    curation: Curation
    work: Work
    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing
    gpus: float = 0
    behind: str = ""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def missing(self) -> list[Piece]:
        """The pieces that are missing."""
        return [
            piece
            for tar in self.curation.tars
            for piece in missing_pieces(self.stage, self.curation, tar)
        ]

    @property
    def progress(self) -> StageProgress:
        """How far it is."""
        return stage_progress(self.stage, self.curation)


@dataclass(frozen=True)
class BarrierStep:
    """A stage that looks at all tars at once, when the stage that it reads has done them all.

    Attributes:
        name: its name.
        reads: the step whose stage it reads.
        settings: the hash of its settings and of what it reads.
        report: the report that lies in the folder, of whatever settings.
        words: what the report says, in words; "" without one.
        seconds: time that the work took, where the report says it.
        write: does the work with so many processes, unless it is done, and gives its report.
    """

    name: str
    reads: PieceStep
    settings: str
    report: Report | None
    words: str
    seconds: float | None
    write: Callable[[int, Tell], Report] = field(compare=False)

    @property
    def is_done(self) -> bool:
        """True if its result is there, of these settings."""
        return self.report is not None and self.report.settings == self.settings

    def run(self, workers: int = 0, tell: Tell = lambda progress: None) -> Report:
        """Do the work.

        Args:
            workers: processes, one thread each; 0 does the work in this one.
            tell: is called with how far it is, by stages that take long.

        Raises:
            CurationError: If the stage that it reads has not done all tars.
        """
        progress = self.reads.progress
        if progress.tars < progress.of_tars:
            raise CurationError(
                f"{progress.of_tars - progress.tars} of {progress.of_tars} tars are without "
                f"{self.reads.name} yet, and {self.name} looks at all of them: start again"
            )
        return self.write(workers, tell)


@dataclass(frozen=True)
class WaitingStep:
    """A stage whose input is not known yet.

    Attributes:
        name: its name.
        barrier: the stage that has to be done before.
    """

    name: str
    barrier: str


Step = PieceStep | BarrierStep | WaitingStep


@dataclass(frozen=True)
class PieceSteps:
    """Stages whose pieces go beside each other.

    Attributes:
        steps: the stages.
    """

    steps: tuple[PieceStep, ...]

    @property
    def name(self) -> str:
        """Their names."""
        return ", ".join(step.name for step in self.steps)

    @property
    def missing(self) -> list[Piece]:
        """The pieces that are missing of all of them."""
        return [piece for step in self.steps for piece in step.missing]

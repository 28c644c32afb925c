"""The missing pieces of stages, by an engine; a piece that cannot be done is named."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from regiontok.curate.engines.engine import Engine, PieceJob, PieceTask, Work
from regiontok.curate.engines.local import LocalProcesses, ThisProcess
from regiontok.curate.sources import Source
from regiontok.curate.stage_files import (
    Stage,
    clear_pieces,
    clear_temporary,
    is_done,
    merge,
    missing_pieces,
)
from regiontok.curate.steps import PieceStep
from regiontok.curate.tars import Curation, Piece
from regiontok.system.errors import RegiontokError


@dataclass(frozen=True)
class PieceOutcome:
    """What became of a piece.

    Attributes:
        name: the piece.
        images: number of its images.
        error: why it is not done; None if it is.
        stage: the stage that it is a piece of.
        tar: the name of its tar.
    """

    name: str
    images: int
    error: str | None = None
    stage: str = ""
    tar: str = ""
    resumed: bool = False  # pieces that are there are not yielded


def run_pieces(
    stage: Stage,
    curation: Curation,
    work: Work,
    *,
    workers: int = 0,
    engine: Engine | None = None,
    gpus: float = 0,
    stop: threading.Event | None = None,
) -> Iterator[PieceOutcome]:
    """Do the missing pieces of one stage, see `run_steps`.

    Args:
        stage: the stage.
        curation: the tars.
        work: writes a piece; other processes get it.
        workers: processes, one thread each; 0 does the work in this one.
        engine: does the pieces, in the place of `workers`.
        gpus: GPUs that a piece needs; Ray places pieces by that.
        stop: when it is set, no further piece is begun.
    """
    step = PieceStep(stage, curation, work, gpus=gpus)
    return run_steps([step], workers=workers, engine=engine, stop=stop)


def run_steps(
    steps: Sequence[PieceStep],
    *,
    workers: int = 0,
    engine: Engine | None = None,
    stop: threading.Event | None = None,
) -> Iterator[PieceOutcome]:
    """Do the missing pieces of stages, beside each other.

    A tar's pieces are merged when the last of them is there; then those of a stage that stands
    behind this one are begun, in that tar.

    Args:
        steps: the stages.
        workers: processes, one thread each; 0 does the work in this one.
        engine: does the pieces, in the place of `workers`.
        stop: when it is set, no further piece is begun.
    """
    if engine is None:
        engine = LocalProcesses(workers) if workers else ThisProcess()
    for out in {step.curation.out for step in steps}:
        clear_temporary(out)
    queues: list[_Queue] = []
    for number, step in enumerate(steps):
        before = [queue for queue in queues if queue.step.name == step.behind]
        queues.append(_Queue(step, number, stop or threading.Event(), before))
    for queue in queues:
        yield from queue.merge_whole()
    jobs = [PieceJob(queue.step.work, queue.next, queue.step.gpus) for queue in queues]
    for task, error in engine.run(jobs):
        yield from queues[task.job].settle(task.piece, error)


class _Queue:
    """The missing pieces of a stage.

    Args:
        step: the stage.
        number: its number among those of the run.
        stop: when it is set, no further piece is given.
        before: the stage that must have done a tar before, if it is one of the run; or nothing.
    """

    def __init__(
        self, step: PieceStep, number: int, stop: threading.Event, before: Sequence[_Queue]
    ) -> None:
        self.step, self._number, self._stop = step, number, stop
        self._behind: list[_Queue] = []
        self._held: dict[str, list[Piece]] = {}  # by tar: they wait for another stage
        self._ready: deque[Piece] = deque()
        left = {tar: missing_pieces(step.stage, step.curation, tar) for tar in _todo(step)}
        self._count = {tar: len(pieces) for tar, pieces in left.items()}
        waiting = {tar.name for queue in before for tar in queue._count}
        for tar, pieces in left.items():
            if tar.name in waiting:
                self._held[tar.name] = pieces
            else:
                self._ready.extend(pieces)
        for queue in before:
            queue._behind.append(self)

    def next(self) -> PieceTask | None:
        """The next piece that can be begun; None where there is none."""
        if self._stop.is_set() or not self._ready:
            return None
        piece = self._ready.popleft()
        heartbeat = self.step.stage.heartbeat_path(self.step.curation.out, piece)
        return PieceTask(piece, heartbeat, self._number)

    def merge_whole(self) -> Iterator[PieceOutcome]:
        """Merge the tars all of whose pieces are there; an outcome only where that fails."""
        for tar in [tar for tar, count in self._count.items() if not count]:
            yield from self._merge(tar)

    def settle(self, piece: Piece, error: str | None) -> Iterator[PieceOutcome]:
        """What became of a piece; its tar is merged if it was the last one."""
        yield self._outcome(piece.name, piece.tar, piece.stop - piece.start, error)
        if error is None:
            self._count[piece.tar] -= 1
            if not self._count[piece.tar]:
                yield from self._merge(piece.tar)

    def _merge(self, tar: Source) -> Iterator[PieceOutcome]:
        """Merge a tar's pieces, and let go those that wait for it."""
        try:
            merge(self.step.stage, self.step.curation, tar)
        except RegiontokError as error:
            yield self._outcome(tar.name, tar, tar.images, str(error))
            return
        for queue in self._behind:
            queue._ready.extend(queue._held.pop(tar.name, ()))

    def _outcome(self, name: str, tar: Source, images: int, error: str | None) -> PieceOutcome:
        return PieceOutcome(name, images, error, self.step.name, tar.name)


def _todo(step: PieceStep) -> list[Source]:
    """The tars that a stage has not done; what is left over of those that it has is removed."""
    stage, curation = step.stage, step.curation
    left_over = {path.name.split(".")[0] for path in (curation.out / "pieces").glob("*")}
    todo = []
    for tar in curation.tars:
        if not is_done(stage, curation.out, tar):
            todo.append(tar)
        elif tar.name.split(".")[0] in left_over:
            clear_pieces(stage, curation.out, tar)  # of a run that ended right behind its merge
    return todo

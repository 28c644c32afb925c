"""The missing pieces of a stage, in this process or in several; a piece that fails is named."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from regiontok.curate.stage_files import Stage, clear_pieces, is_done, merge, missing_pieces
from regiontok.curate.tars import CuratedTar, Curation, Piece
from regiontok.system.errors import RegiontokError
from regiontok.system.interrupt import ignore_stop_signals
from regiontok.system.workers import end_with_parent

Work = Callable[[Piece], None]
TRIES = 2  # of a piece by itself, after a worker died that had it


@dataclass(frozen=True)
class PieceOutcome:
    """What became of a piece.

    Attributes:
        name: the piece.
        images: number of its images.
        error: why it is not done; None if it is.
    """

    name: str
    images: int
    error: str | None = None
    resumed: bool = False  # pieces that are there are not yielded


def run_pieces(
    stage: Stage,
    curation: Curation,
    work: Work,
    *,
    workers: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[PieceOutcome]:
    """Do the missing pieces of a stage; a tar's pieces are merged when the last of them is there.

    Args:
        stage: the stage.
        curation: the tars.
        work: writes a piece; worker processes get it.
        workers: processes, one thread each; 0 does the work in this one.
        stop: when it is set, no further piece is begun.
    """
    todo = {
        tar: missing_pieces(stage, curation, tar)
        for tar in curation.tars
        if not is_done(stage, curation.out, tar)
    }
    left_over = {path.name.split(".")[0] for path in (curation.out / "pieces").glob("*.parquet")}
    for tar in curation.tars:
        if tar not in todo and tar.name.split(".")[0] in left_over:
            clear_pieces(stage, curation.out, tar)  # of a run that ended right behind its merge
    pieces = [piece for of_tar in todo.values() for piece in of_tar]
    left = {tar: len(of_tar) for tar, of_tar in todo.items()}
    for tar in [tar for tar, count in left.items() if not count]:
        yield from _merged(stage, curation, tar)
    begun = _until(pieces, stop or threading.Event())
    done = _in_workers(begun, work, workers) if workers else _in_this_process(begun, work)
    for piece, error in done:
        yield PieceOutcome(piece.name, piece.stop - piece.start, error)
        if error is None:
            left[piece.tar] -= 1
            if not left[piece.tar]:
                yield from _merged(stage, curation, piece.tar)


def _merged(stage: Stage, curation: Curation, tar: CuratedTar) -> Iterator[PieceOutcome]:
    """Merge a tar's pieces; an outcome only if that fails."""
    try:
        merge(stage, curation, tar)
    except RegiontokError as error:
        yield PieceOutcome(tar.name, tar.images, str(error))


def _until(pieces: Sequence[Piece], stop: threading.Event) -> Iterator[Piece]:
    for piece in pieces:
        if stop.is_set():
            return
        yield piece


def _in_this_process(pieces: Iterator[Piece], work: Work) -> Iterator[tuple[Piece, str | None]]:
    for piece in pieces:
        try:
            work(piece)
            yield piece, None
        except RegiontokError as error:
            yield piece, str(error)


def _in_workers(
    pieces: Iterator[Piece], work: Work, workers: int
) -> Iterator[tuple[Piece, str | None]]:
    """With few pieces under way at a time; those that a dead worker may have had go one by one."""
    suspects: list[Piece] = []
    begun = next(pieces, None)
    while begun is not None:
        running: dict[Future[None], Piece] = {}
        with _pool(workers) as pool:
            try:
                while running or begun is not None:
                    while begun is not None and len(running) < 2 * workers:
                        running[pool.submit(work, begun)] = begun  # a dead pool takes none
                        begun = next(pieces, None)
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        error = _error_of(future)  # of a dead worker it raises
                        yield running.pop(future), error
            except BrokenProcessPool:
                suspects += running.values()
    for piece in suspects:
        yield piece, _alone(piece, work)


def _alone(piece: Piece, work: Work) -> str | None:
    """What is wrong with a piece that a process of its own has tried."""
    for _ in range(TRIES):
        with _pool(1) as pool:
            try:
                return _error_of(pool.submit(work, piece))
            except BrokenProcessPool:
                continue
    return f"kills the process that works on it, tried {TRIES + 1} times"


def _error_of(future: Future[None]) -> str | None:
    try:
        future.result()
    except RegiontokError as error:
        return str(error)
    return None


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    ignore_stop_signals(0)
    end_with_parent()

"""The contract of engines, and the attempt at a piece, which is the same in all of them."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from regiontok.curate.tars import Piece
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.logs import module_logger
from regiontok.system.need import MissingPackage

Work = Callable[[Piece], None]
BEAT = 10.0  # seconds between two signs of life of a piece
TRIES = 3  # of a piece whose process dies
# What the next piece would meet, too: it ends the run, which goes on when there is room again.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
KILLS = f"kills the process that works on it, tried {TRIES} times"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_LOG = module_logger(__name__)


@dataclass(frozen=True)
class PieceTask:
    """A piece that is to be done.

    Attributes:
        piece: the piece.
        heartbeat: a file that is touched while somebody works on it, and removed then.
        job: number of the job that it belongs to.
    """

    piece: Piece
    heartbeat: Path
    job: int = 0


@dataclass(frozen=True)
class PieceJob:
    """Pieces of one kind: those of a stage.

    Attributes:
        work: writes a piece; other processes get it.
        next: gives the next piece that can be begun now; None where there is none, perhaps because
            it waits for a piece of another job.
        gpus: GPUs that a piece needs, where the engine places pieces by that.
    """

    work: Work
    next: Callable[[], PieceTask | None]
    gpus: float = 0


class Engine(Protocol):
    """Does pieces, in any order and anywhere; the bytes that they write are the same."""

    def run(self, jobs: Sequence[PieceJob]) -> Iterator[tuple[PieceTask, str | None]]:
        """Do the pieces of jobs; yields each with None, or with why it cannot be done.

        Jobs go beside each other, about as many pieces of one as of another at a time. What is
        done with a piece that was yielded, say that others are let go, counts before the next one
        is begun.

        Args:
            jobs: the jobs; no more of their pieces are taken than are soon begun.

        Raises:
            OSError: If the disk is full or cannot be written: all further pieces would meet it.
            MissingPackage: If the work needs a package that is not installed.
        """


def next_task(jobs: Sequence[PieceJob], under_way: Mapping[int, int]) -> PieceTask | None:
    """The next piece that can be begun, of the job that has the fewest under way.

    Args:
        jobs: the jobs.
        under_way: how many pieces of a job are under way, by its number.
    """
    for number in sorted(range(len(jobs)), key=lambda number: under_way.get(number, 0)):
        if (task := jobs[number].next()) is not None:
            return task
    return None


def attempt(work: Work, task: PieceTask) -> str | None:
    """Do a piece, whatever it meets.

    Returns:
        None, or why it cannot be done: an error by itself may not survive the way to another
        process.

    Raises:
        OSError: If the disk is full or cannot be written.
        MissingPackage: If the work needs a package that is not installed.
    """
    try:
        with beating(task.heartbeat):
            work(task.piece)
    except MissingPackage:
        raise
    except RegiontokError as error:
        return str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FATAL:
            raise
        _LOG.exception("%s", task.piece.name)
        return f"{type(error).__name__}: {first_line(error)}"
    return None


def use_one_thread() -> None:
    """Let this process compute in one thread, also what it imports later.

    Torch is told only if it is there: the filter does without it, and starts six times faster so.
    """
    os.environ.update(THREADS)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """Touch a file now and every ten seconds, and remove it when the block ends.

    A process that is killed leaves it, and its time stands still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    has_ended = threading.Event()
    threading.Thread(target=_beat, args=(path, has_ended), daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()
        with suppress(OSError):
            path.unlink()


def _beat(path: Path, has_ended: threading.Event) -> None:
    while not has_ended.wait(BEAT):
        with suppress(OSError):  # another process has merged the pieces of its tar
            os.utime(path)

"""Pieces in this process, or in several processes of this machine, with one thread each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass

from regiontok.curate.engines.engine import (
    KILLS,
    TRIES,
    PieceJob,
    PieceTask,
    Work,
    attempt,
    next_task,
    use_one_thread,
)
from regiontok.system.workers import WorkerDied, worker_processes

Done = tuple[PieceTask, str | None]
Running = dict[Future[str | None], PieceTask]


@dataclass(frozen=True)
class ThisProcess:
    """One piece after the other, in this process; one that kills it ends the run."""

    def run(self, jobs: Sequence[PieceJob]) -> Iterator[Done]:
        """Do pieces, see `Engine`."""
        while (task := next_task(jobs, {})) is not None:
            yield task, attempt(jobs[task.job].work, task)


@dataclass(frozen=True)
class LocalProcesses:
    """Pieces in several processes; where they compute on a GPU, it is the same one.

    Attributes:
        workers: number of processes.
    """

    workers: int

    def run(self, jobs: Sequence[PieceJob]) -> Iterator[Done]:
        """Do pieces, see `Engine`.

        Few are under way at a time; those that a dead process may have had go one by one.
        """
        while (first := next_task(jobs, {})) is not None:
            running: Running = {}
            try:
                yield from self._in_pool(jobs, first, running)
            except WorkerDied:
                for task in running.values():
                    yield task, _alone(jobs[task.job].work, task)

    def _in_pool(
        self, jobs: Sequence[PieceJob], first: PieceTask, running: Running
    ) -> Iterator[Done]:
        """The pieces of jobs, from the first on, until none is left or a process dies."""
        works = {number: job.work for number, job in enumerate(jobs)}
        with worker_processes(self.workers, _start_worker, works) as pool:
            following: PieceTask | None = first
            while running or following is not None:
                while following is not None:
                    _submit(pool, following, running)
                    following = self._following(jobs, running)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = future.result()  # of a dead worker it raises
                    yield running.pop(future), error
                following = self._following(jobs, running)

    def _following(self, jobs: Sequence[PieceJob], running: Running) -> PieceTask | None:
        if len(running) >= 2 * self.workers:
            return None
        return next_task(jobs, Counter(task.job for task in running.values()))


def _submit(pool: ProcessPoolExecutor, task: PieceTask, running: Running) -> None:
    try:
        running[pool.submit(_attempt, task)] = task
    except BrokenProcessPool:
        running[Future()] = task  # it goes alone, as those do that were under way
        raise


def _alone(work: Work, task: PieceTask) -> str | None:
    """What is wrong with a piece that processes of its own have tried."""
    for _ in range(TRIES - 1):
        with (
            suppress(WorkerDied),
            worker_processes(1, _start_worker, {task.job: work}) as pool,
        ):
            return pool.submit(_attempt, task).result()
    return KILLS


_works: dict[int, Work] = {}  # of a worker process: handed over once, for they list all tars


def _start_worker(works: dict[int, Work]) -> None:
    use_one_thread()
    _works.update(works)


def _attempt(task: PieceTask) -> str | None:
    return attempt(_works[task.job], task)

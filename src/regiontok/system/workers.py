"""Worker processes that end with what started them, whichever of them is killed, and when."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from regiontok.system.errors import RegiontokError


class WorkerDied(RegiontokError, RuntimeError):
    """A worker process was killed, for want of memory perhaps."""


@contextmanager
def worker_processes(
    count: int, start: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block, at once where it ends by an error or a stop.

    They do not hear Ctrl-C, which is meant for the process that leads. SIGTERM ends them, because
    that is how a pool ends what is left of it when one of them was killed: one that is killed while
    it waits for work takes the queue's lock with it, and the others would wait for ever.

    Args:
        count: number of processes.
        start: is called in each of them first.
        arguments: what it is called with.

    Raises:
        WorkerDied: If one of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _start, (lifeline, start, arguments))
    try:
        yield pool
    except BrokenProcessPool:
        held.close()
        raise WorkerDied(
            "a worker process was killed, for want of memory perhaps: start again, it goes on "
            "where it was; fewer workers need less"
        ) from None
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        lifeline.close()


def _start(lifeline: Connection, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the leading process inherited
    if lifeline.poll():  # the leading process was killed while this one started
        os._exit(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    start(*arguments)


def _end_with(lifeline: Connection) -> None:
    """End this process when the other end is closed, or the process that holds it is killed."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)

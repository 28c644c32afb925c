"""Ctrl-C, and a cluster's SIGTERM: a request that training grants after its current step.

Other commands end where they are: what they have finished is on the disk (`stopped_by_sigterm`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUS_OF_SIGINT, STATUS_OF_SIGTERM = 130, 143


@contextmanager
def interruptible(*, insist: bool = True) -> Iterator[threading.Event]:
    """An event that one of `STOP_SIGNALS` sets, so that the current step is finished and saved.

    Outside the main thread, where Python allows no handlers, the event is never set.

    Args:
        insist: True if a second signal stops at once, with KeyboardInterrupt.
    """
    stop_requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        if stop_requested.is_set() and insist:
            raise KeyboardInterrupt
        stop_requested.set()

    previous = {number: signal.signal(number, request_stop) for number in STOP_SIGNALS}
    try:
        yield stop_requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Terminated(SystemExit):
    """SIGTERM, in the place in the main thread where it came; without a handler the process ends.

    Its status is what a shell has for a process that a SIGTERM ended: 143.
    """

    def __init__(self) -> None:
        super().__init__(STATUS_OF_SIGTERM)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, so that what is open is closed and what is done is written.

    A second one is ignored: a process that must end at once is killed by SIGKILL. Outside the main
    thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def exit_status(stop: BaseException) -> int:
    """What a shell has for a process that was stopped so: 143 for SIGTERM, 130 for Ctrl-C."""
    return STATUS_OF_SIGTERM if isinstance(stop, Terminated) else STATUS_OF_SIGINT


def ignore_stop_signals(worker: int = 0) -> None:
    """Let a worker process ignore `STOP_SIGNALS`; of a `DataLoader`, as its ``worker_init_fn``.

    A stop is meant for the process that leads, which still has, say, a step to finish and a
    checkpoint to save; a worker that died of the signal would end that step with an error. Workers
    end when their queue says so, or when their parent process has ended.

    Args:
        worker: number of the worker, which `DataLoader` passes and nothing here needs.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

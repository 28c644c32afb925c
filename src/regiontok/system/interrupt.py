"""Ctrl-C, and a cluster's SIGTERM, as a request that long work grants after its current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


def ignore_stop_signals(worker: int) -> None:
    """Let a `DataLoader`'s worker ignore `STOP_SIGNALS`: pass it as ``worker_init_fn``.

    A stop is meant for the process that trains, which still has a step to finish and a checkpoint
    to save; a worker that died of the signal would end that step with an error. Workers end when
    their queue says so, or when their parent process has ended.

    Args:
        worker: number of the worker, which `DataLoader` passes and nothing here needs.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

"""Ctrl-C, and a cluster's SIGTERM, as a wish to stop that long work grants when its current step is
done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(*, insist: bool = True) -> Iterator[threading.Event]:
    """One of `STOPS` sets the event, so that the step is finished and saved; with `insist` a second
    one stops at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, frame: Any) -> None:
        if flag.is_set() and insist:
            raise KeyboardInterrupt
        flag.set()

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def undisturbed(worker: int) -> None:
    """For a `DataLoader`'s workers: a stop is for the process that trains, which still has a step
    to finish and a checkpoint to save.

    A worker that died of the signal would end that step with an error. Workers end when their queue
    says so, or their parent is gone.
    """
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)

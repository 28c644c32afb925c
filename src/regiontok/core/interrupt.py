"""Ctrl-C, and a cluster's SIGTERM, as a wish to stop that long work grants when its current step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible(signals: Sequence[int] = (signal.SIGINT,), *, insist: bool = True) -> Iterator[threading.Event]:
    """A signal sets the event, so that the step is finished and saved; with `insist` a second one stops at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, frame: Any) -> None:
        if flag.is_set() and insist:
            raise KeyboardInterrupt
        flag.set()

    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def undisturbed(worker: int) -> None:
    """For a `DataLoader`'s workers: Ctrl-C is for the process that trains, which still has a step to finish and a checkpoint to save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

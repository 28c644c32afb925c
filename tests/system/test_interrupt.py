"""The first stop signal is a request; the second one stops at once, if that is wanted."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from regiontok.system.interrupt import (
    STOP_SIGNALS,
    Terminated,
    exit_status,
    interruptible,
    stopped_by_sigterm,
)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_sets_the_event_and_the_block_goes_on(number):
    with interruptible() as stop_requested:
        assert not stop_requested.is_set()
        os.kill(os.getpid(), number)
        assert stop_requested.wait(5)


def test_a_second_signal_stops_at_once():
    def interrupt_twice() -> None:
        with interruptible() as stop_requested:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop_requested.wait(5)
            os.kill(os.getpid(), signal.SIGINT)
            stop_requested.wait(5)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_without_insisting_a_second_signal_changes_nothing():
    with interruptible(insist=False) as stop_requested:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested.wait(5)


def test_the_former_handlers_come_back():
    previous = [signal.getsignal(number) for number in STOP_SIGNALS]
    with interruptible():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != previous
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == previous


def test_sigterm_is_raised_once_and_the_former_handler_comes_back():
    previous = signal.getsignal(signal.SIGTERM)
    cleared = []

    def work() -> None:
        with stopped_by_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # a second one does not disturb
                cleared.append(True)

    with pytest.raises(Terminated) as stop:
        work()
    assert cleared == [True]
    assert (exit_status(stop.value), stop.value.code) == (143, 143)
    assert exit_status(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) is previous


def test_in_another_thread_the_event_is_never_set():
    events = []

    def work() -> None:
        with interruptible() as stop_requested:
            events.append(stop_requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert [event.is_set() for event in events] == [False]

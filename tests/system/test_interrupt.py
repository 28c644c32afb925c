"""The first stop signal is a request; the second one stops at once, if that is wanted."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from regiontok.system.interrupt import STOP_SIGNALS, interruptible


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


def test_in_another_thread_the_event_is_never_set():
    events = []

    def work() -> None:
        with interruptible() as stop_requested:
            events.append(stop_requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert [event.is_set() for event in events] == [False]

"""Worker processes: one that is killed, at whatever moment, is an error, and nothing hangs."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

import pytest

from regiontok.system.workers import WorkerDied, worker_processes


def start():
    """Nothing has to be made ready."""


def number_when_two_have_begun(folder):
    (folder / str(os.getpid())).touch()
    while len([*folder.iterdir()]) < 2:
        time.sleep(0.01)
    return os.getpid()


def kill_who_waits(numbers):
    """Kill the other process, which waits for work and therefore holds the lock of the queue."""
    time.sleep(0.5)
    (other,) = numbers - {os.getpid()}
    os.kill(other, signal.SIGKILL)
    time.sleep(0.5)


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def two_workers(folder):
    """A pool of two processes, and their numbers."""
    with worker_processes(2, start) as pool:
        meetings = [pool.submit(number_when_two_have_begun, folder) for _ in range(2)]
        yield pool, {meeting.result() for meeting in meetings}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seconds", [0, 2])
def test_a_worker_that_is_killed_while_it_waits_is_an_error_and_the_others_end(tmp_path, seconds):
    # it hung: the other one waited for the lock, and did not hear the SIGTERM of its pool
    numbers = set()

    def kill_one():
        with two_workers(tmp_path) as (pool, found):
            numbers.update(found)
            killing = pool.submit(kill_who_waits, numbers)
            time.sleep(seconds)
            killing.result()

    with pytest.raises(WorkerDied, match="fewer workers"):
        kill_one()
    assert not any(map(is_running, numbers))


@pytest.mark.timeout(60)
def test_workers_end_at_once_where_the_block_ends_by_an_error(tmp_path):
    numbers = set()

    def stop():
        with two_workers(tmp_path) as (pool, found):
            numbers.update(found)
            pool.submit(time.sleep, 600)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop()
    assert not any(map(is_running, numbers))


@pytest.mark.timeout(60)
def test_ctrl_c_reaches_only_the_process_that_leads(tmp_path):
    with two_workers(tmp_path) as (pool, numbers):
        for number in numbers:
            os.kill(number, signal.SIGINT)
        assert pool.submit(abs, -1).result() == 1

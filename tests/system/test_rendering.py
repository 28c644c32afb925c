"""What takes too much processor time, or fails in a template, ends with one clear error."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from jinja2 import TemplateError

from regiontok.system.rendering import (
    TemplateRefusal,
    TimeLimitExceeded,
    rendering,
    time_limit,
)


def count_on():
    number = 0
    while True:
        number += 1


def test_endless_work_is_ended_in_the_middle():
    message = r"counting takes more than 0\.05 s of processor"
    with pytest.raises(TimeLimitExceeded, match=message), time_limit(0.05, "counting takes"):
        count_on()
    with pytest.raises(TimeLimitExceeded), time_limit(0.05, "a power takes"):
        9 ** int("9" * 9)  # one instruction of Python
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL


@pytest.mark.parametrize(
    "error", [TemplateError("no\nmore"), KeyError("no"), ZeroDivisionError("no"), MemoryError("no")]
)
def test_whatever_a_template_raises_is_one_kind_of_error(error):
    with (
        pytest.raises(TemplateRefusal, match=r"^the chat template refuses this conv.*no"),
        rendering(),
    ):
        raise error


def test_waiting_takes_no_processor_time():
    with time_limit(0.05, "waiting takes"):
        time.sleep(0.1)


def test_in_other_threads_nothing_is_limited():
    ended = []

    def work():
        with time_limit(0.0, "nothing takes"):
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended

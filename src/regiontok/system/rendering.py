"""Chat templates are programs of other people: they end in time, or in one clear error."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jinja2 import TemplateError

from regiontok.system.errors import RegiontokError, first_line

RENDER_SECONDS = 5.0  # processor time; a template takes milliseconds, if it is no endless loop
# What an expression of a template may raise, beside jinja's own errors.
_REFUSALS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class TemplateRefusal(RegiontokError, ValueError):
    """A chat template does not take a conversation, or does not end."""


class TimeLimitExceeded(RegiontokError, ValueError):
    """Work took more processor time than it was allowed."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise in the middle of a block that takes more processor time than it should.

    The time is that of this process and not the clock's, so that a busy machine ends nothing.
    Outside the main thread, and on systems without such timers, nothing is limited.

    Args:
        seconds: processor time that the block may take.
        what: what the message calls the block, with its verb.

    Raises:
        TimeLimitExceeded: If the block takes longer.
    """
    limited = hasattr(signal, "setitimer")
    if not limited or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeLimitExceeded(f"{what} more than {seconds:g} s of processor time")

    previous = signal.signal(signal.SIGVTALRM, end)
    # again and again: jinja swallows errors of expressions that it computes beforehand
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextmanager
def rendering(*, patience: float = 1.0) -> Iterator[None]:
    """Raise one kind of error for whatever a chat template raises in a block that renders it.

    Args:
        patience: how many times `RENDER_SECONDS` the block may take.

    Raises:
        TemplateRefusal: If the template fails, or takes longer.
    """
    try:
        with time_limit(patience * RENDER_SECONDS, "it takes"):
            yield
    except _REFUSALS as error:
        raise TemplateRefusal(
            f"the chat template refuses this conversation: {first_line(error)}"
        ) from error

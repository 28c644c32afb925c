"""The command line, run in this process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from regiontok.cli.app import app

# of each stop signal, what a shell has for a process that it ended
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit status, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str
    output: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON line that closes the standard output of a command that measures."""
        return json.loads(self.stdout.strip().splitlines()[-1])


def stop_at(count: int, function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The function, which sends this process a signal at the end of its `count`-th call."""
    calls = iter(range(1, 1000))

    def stopping(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if next(calls) == count:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # Python handles it before this ends
        return result

    return stopping


def regiontok(*words: Any, stdin: str | None = None) -> Ended:
    """Run `regiontok WORDS...`, with `stdin` as its standard input."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    return Ended(result.exit_code, result.stdout, result.stderr, result.output)

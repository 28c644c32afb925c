"""A viewer that runs in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Server:
    """A viewer that runs in a process of its own.

    Attributes:
        address: what it printed, with the token.
        process: the process.
    """

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """The port on this machine."""
        return int(re.search(r":(\d+)/", self.address)[1])


def start_server(*words: str) -> Server:
    """Start `regiontok view` on a free port, and wait until it says its address."""
    command = [sys.executable, "-m", "regiontok", "view", *words, "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return Server(found[0], process)
    raise AssertionError(f"{' '.join(command)} ended with {process.wait()}")

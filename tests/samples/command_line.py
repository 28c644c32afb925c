"""The command line, run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from regiontok.cli.app import app


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


def regiontok(*words: Any, stdin: str | None = None) -> Ended:
    """Run `regiontok WORDS...`, with `stdin` as its standard input."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    return Ended(result.exit_code, result.stdout, result.stderr, result.output)

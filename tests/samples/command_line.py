"""The command line, run in this process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from regiontok.cli.app import app


def run(*words: Any, stdin: str | None = None) -> Any:
    """The result of a command: its exit code, standard output and standard error."""
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def closing_line(result: Any) -> dict[str, Any]:
    """The JSON line that closes a command's standard output."""
    return json.loads(result.stdout.strip().splitlines()[-1])

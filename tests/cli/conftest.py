"""The command line as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from regiontok.cli.app import app
from regiontok.miniworld.scenes import make_scene


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit status, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str
    output: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON line that a command which measures ends with."""
        return json.loads(self.stdout.strip().splitlines()[-1])


@pytest.fixture
def regiontok() -> Callable[..., Ended]:
    """The function that runs `regiontok WORDS...`, with `stdin` as its standard input."""

    def run(*words: Any, stdin: str | None = None) -> Ended:
        result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        return Ended(result.exit_code, result.stdout, result.stderr, result.output)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three scenes, one of them in a sub-folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.jpg", "more/c.png"]):
        Image.fromarray(make_scene(seed, (80, 100)).pixels).save(folder / name)
    return folder

"""The library logs below "regiontok" and prints nothing unless the application asks for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import regiontok

WARN = """
from regiontok.system.logs import module_logger
module_logger("regiontok.somewhere").warning("a warning")
"""


def stderr_of(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stderr


def test_a_warning_is_silent_by_default():
    assert stderr_of(WARN) == ""


def test_a_warning_is_printed_where_the_application_configures_logging():
    configure = "import logging; logging.basicConfig(format='%(name)s: %(message)s')"
    assert stderr_of(configure + WARN) == "regiontok.somewhere: a warning\n"


@pytest.mark.slow
def test_every_module_takes_its_logger_from_here():
    """Otherwise its first message could come before the silent handler."""
    root = Path(regiontok.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "getLogger":
                assert path == root / "system" / "logs.py", path

"""Benches and examples are written as a user would: they import no private module or name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("bench", "examples") for path in (ROOT / folder).rglob("*.py"))


def private_imports(source: str) -> list[str]:
    """The imports of regiontok that name something with a leading underscore."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    private = [name for name in names if any(word.startswith("_") for word in name.split("."))]
    return [name for name in private if name.startswith("regiontok.")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_private_is_imported(path):
    assert private_imports(path.read_text(encoding="utf-8")) == []


def test_a_private_import_is_noticed():
    source = "from regiontok.encoders.lite import Lite, _network\nimport regiontok.draw._text\n"
    assert private_imports(source) == [
        "regiontok.encoders.lite._network",
        "regiontok.draw._text",
    ]

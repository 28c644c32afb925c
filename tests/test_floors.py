"""The house has floors: a module imports its own folder and lower floors only; folders of one floor do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import regiontok

ROOT = Path(regiontok.__file__).parent
FLOORS = {
    "core": 0,
    "encoders": 1,
    "segment": 1,
    "transform": 1,
    "steps": 1,
    "pool": 1,
    "place": 1,
    "connect": 1,
    "diagnose": 1,
    "draw": 1,
    "miniworld": 1,
    "clips": 1,
    "tiles": 1,
    "head": 1,
    "tokenizer": 2,
    "model": 3,
    "rice": 3,
    "data": 4,
    "probe": 5,
    "train": 6,
    "pretrain": 6,
    "commands": 7,
    "terminal": 8,
    "cli_masks": 9,
    "cli_diagnose": 9,
    "cli_migrate": 9,
    "cli_model": 9,
    "cli": 10,
}


def room(path: Path) -> str:
    """The folder under src/regiontok, or the module that stands there by itself."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    """All regiontok modules that a tree imports, anywhere, also for type checking."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which floor is meant"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "regiontok"]


def wrong_edges(path: Path, source: str) -> list[str]:
    """Imports of `path` that go up, or across."""
    here = room(path)
    found = []
    for name in imports(ast.parse(source)):
        parts = name.split(".")
        there = parts[1] if len(parts) > 1 else ""
        if there in FLOORS and there != here and FLOORS[there] >= FLOORS[here]:
            found.append(f"{here} -> {name}")
    return found


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_lower_floors_only(path):
    assert room(path) in FLOORS, f"{path} stands on no floor: enter its folder in FLOORS"
    assert wrong_edges(path, path.read_text(encoding="utf-8")) == []


def test_a_step_that_imports_an_encoder_is_found():
    source = "from regiontok.encoders.lite import Lite\nfrom regiontok.core.grid import PatchGrid\n"
    assert wrong_edges(ROOT / "steps" / "merge.py", source) == ["steps -> regiontok.encoders.lite.Lite"]


def test_folders_are_at_most_two_deep_and_init_files_hold_no_logic():
    for path in MODULES:
        assert len(path.relative_to(ROOT).parts) <= 2
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, f"{path} holds more than its docstring"
            assert ast.get_docstring(ast.Module(body=body, type_ignores=[]))

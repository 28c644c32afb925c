"""The tests mirror the house: a test file lies in the folder of the room that it tests.

Files directly under `tests/` are about several rooms, or about the repository.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import regiontok
from regiontok.settings.registry import FOLDERS

ROOT = Path(regiontok.__file__).parent
TESTS = Path(__file__).parent
# folders beside src/regiontok, and what tests share
BESIDE = {"bench", "examples", "samples", "tools"}
FILES = sorted(path for path in TESTS.rglob("test_*.py") if path.parent != TESTS)


def rooms_of(path: Path) -> set[str]:
    """The rooms that a file reaches: by imports, in quoted code, or by the kind of a method."""
    source = path.read_text(encoding="utf-8")
    rooms = set(re.findall(r"regiontok\.(\w+)", source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in FOLDERS:
            rooms.add(FOLDERS[node.value].split(".")[1])
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("samples."):
            rooms |= rooms_of(TESTS / f"{node.module.replace('.', '/')}.py")
    return rooms


def test_a_test_lies_in_the_folder_of_a_room_it_tests():
    for path in FILES:
        folder = path.relative_to(TESTS).parts[:-1]
        if folder[0] in BESIDE:
            continue
        assert (ROOT / Path(*folder)).is_dir(), f"src/regiontok has no folder {'/'.join(folder)}"
        rooms = rooms_of(path)
        assert folder[0] in rooms, f"{path} reaches nothing of {folder[0]}, but {sorted(rooms)}"


def test_every_room_has_tests():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    tested = {path.relative_to(TESTS).parts[0] for path in FILES}
    assert rooms - tested == set()
    assert tested - rooms <= BESIDE

"""The house has floors: a module imports its own room and lower floors only.

A room is a folder directly under `src/regiontok`; rooms of one floor do not know each other.
"""

from __future__ import annotations

import ast
from pathlib import Path

import regiontok

ROOT = Path(regiontok.__file__).parent
FLOORS = {
    "system": 0,
    "core": 1,
    "conversation": 2,
    "methods": 2,
    "settings": 3,
    "runs": 4,
    "encoders": 4,
    "transform": 4,
    "steps": 4,
    "pool": 4,
    "place": 4,
    "connect": 4,
    "maskstore": 4,
    "measures": 4,
    "draw": 4,
    "miniworld": 4,
    "evaluation": 4,
    "rice": 4,
    "kmeans": 4,
    "shards": 4,
    "benches": 5,
    "segment": 5,
    "testing": 5,
    "tokenizer": 6,
    "released": 7,
    "model": 8,
    "data": 9,
    "train": 10,
    "pretrain": 10,
    "curate": 10,
    "probe": 10,
    "serve": 11,
    "jobs": 12,
    "view": 13,
    "cli": 14,
    "__main__": 15,
}


# Rooms whose public names are handed on by their __init__.py; of all others modules are imported.
HANDS_ON = {"testing"}


def room(path: Path) -> str:
    """The folder under src/regiontok, or the module that stands there by itself."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    """All regiontok modules that a tree imports, anywhere, also for type checking."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which floor is meant"
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in modules if name.split(".")[0] == "regiontok"]


def wrong_edges(path: Path, source: str) -> list[str]:
    """Imports of `path` that go up, or across."""
    here = room(path)
    edges = []
    for name in imports(ast.parse(source)):
        parts = name.split(".")
        there = parts[1] if len(parts) > 1 else ""
        if there in FLOORS and there != here and FLOORS[there] >= FLOORS[here]:
            edges.append(f"{here} -> {name}")
    return edges


def foreign_privates(path: Path, source: str) -> list[str]:
    """Imports of modules or names with an underscore from a folder that `path` does not lie in."""
    folder = ".".join(("regiontok", *path.relative_to(ROOT).parts[:-1]))
    foreign = []
    for name in imports(ast.parse(source)):
        parts = name.split(".")
        hidden = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
        if hidden is not None and ".".join(parts[:hidden]) != folder:
            own_module = ".".join(parts[:hidden]) == f"{folder}.{path.stem}"
            if not own_module and not parts[hidden].startswith("__"):
                foreign.append(name)
    return foreign


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def test_modules_import_lower_floors_only():
    rooms = {room(path) for path in MODULES}
    assert rooms <= set(FLOORS), f"enter {rooms - set(FLOORS)} in FLOORS"
    wrong: dict[str, list[str]] = {}
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        if edges := wrong_edges(path, source) + foreign_privates(path, source):
            wrong[str(path.relative_to(ROOT))] = edges
    assert wrong == {}


def test_a_step_that_imports_an_encoder_is_found():
    source = "from regiontok.encoders.lite import Lite\nfrom regiontok.core.grid import PatchGrid\n"
    edges = wrong_edges(ROOT / "steps" / "merge.py", source)
    assert edges == ["steps -> regiontok.encoders.lite.Lite"]


def test_an_underscore_is_private_to_its_folder():
    source = "from regiontok.steps._tiling import cut\nfrom regiontok.steps.merge import _tree\n"
    inside, outside = ROOT / "steps" / "windows.py", ROOT / "pool" / "mean.py"
    assert foreign_privates(inside, source) == ["regiontok.steps.merge._tree"]
    assert len(foreign_privates(outside, source)) == 2


def hands_names_on(statement: ast.stmt) -> bool:
    """True for an import out of a module, and for the list of names in `__all__`."""
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] == ["__all__"]
    return isinstance(statement, ast.ImportFrom)


def test_folders_are_at_most_three_deep_and_init_files_hold_no_logic():
    for path in MODULES:
        parts = path.relative_to(ROOT).parts
        assert len(parts) <= 3
        if path.name == "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert ast.get_docstring(tree), f"{path} has no docstring"
            if parts[0] in HANDS_ON:
                assert all(map(hands_names_on, tree.body[1:])), f"{path} holds logic"
            else:
                assert len(tree.body) == 1, f"{path} holds more than its docstring"

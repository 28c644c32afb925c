"""The public face: names, version, types, errors and what `dir` shows."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import regiontok
from regiontok.system.errors import RegiontokError
from regiontok.system.need import MissingPackage

ROOT = Path(regiontok.__file__).parent


@pytest.mark.parametrize("name", regiontok.__all__)
def test_every_public_name_is_there_and_has_a_docstring(name):
    try:
        value = getattr(regiontok, name)
    except MissingPackage as error:
        pytest.skip(str(error))
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_names_are_the_same_at_run_time_and_for_type_checkers():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    modules = {
        alias.name: node.module.removeprefix("regiontok.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert modules == regiontok._MODULES
    assert sorted(modules) == sorted(regiontok.__all__)


def test_dir_shows_public_names_and_dunders_only():
    names = dir(regiontok)
    assert names == sorted(set(names))
    assert {name for name in names if not name.startswith("__")} == set(regiontok.__all__)
    assert {"__version__", "__doc__", "__all__"} <= set(names)


def test_the_version_is_that_of_the_installed_package():
    assert regiontok.__version__ == importlib.metadata.version("regiontok")


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Region'"):
        _ = regiontok.Region
    assert not hasattr(regiontok, "_where")


def error_classes() -> list[type[Exception]]:
    """Every error class that a module of this package defines; warnings and stops are none."""
    classes = []
    for module_info in pkgutil.walk_packages([str(ROOT)], "regiontok."):
        try:
            module = importlib.import_module(module_info.name)
        except ImportError as error:
            if (error.name or "").startswith("regiontok"):
                raise
            continue  # it needs a package that is not installed
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and not issubclass(value, Warning)
                and value.__module__ == module.__name__
            ):
                classes.append(value)
    return classes


def test_every_error_derives_from_one_base_and_a_builtin():
    classes = [cls for cls in error_classes() if cls is not RegiontokError]
    assert len(classes) > 8
    for cls in classes:
        assert issubclass(cls, RegiontokError), cls
        assert issubclass(cls, ValueError | ImportError | RuntimeError | OSError), cls


def test_the_command_line_is_there_without_its_script():
    run = subprocess.run(
        [sys.executable, "-m", "regiontok", "--help"], capture_output=True, text=True, check=True
    )
    assert "Region tokens for vision-language models" in run.stdout

"""What is imported when: names, specs and help must not wait for torch."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "skimage", "sklearn", "timm", "numba", "numpy", "pydantic"}
COMMAND_LINE = "from regiontok.cli.app import app\nfrom typer.testing import CliRunner\n"


def heavy_after(code: str) -> set[str]:
    """The heavy packages that are loaded in a clean process after `code`."""
    check = f"{code}\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(run.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import regiontok; dir(regiontok); regiontok.__version__", set()),
        ("import regiontok; regiontok.SpecError, regiontok.RegiontokError", set()),
        ("import regiontok; regiontok.register", set()),
        ("import regiontok; regiontok.load_recipe", {"pydantic"}),
        (
            "from regiontok.settings import registry, spec\n"
            "spec.parse(\"merge(0.7) | sort('com')\")\n"
            "registry.check('step', 'merge(0.7)')",
            set(),
        ),
        (
            "from regiontok.jobs.ls import methods_by_kind\n"
            "assert 'merge' in methods_by_kind()['step']",
            {"pydantic"},
        ),
        (f"{COMMAND_LINE}assert CliRunner().invoke(app, ['--help']).exit_code == 0", {"pydantic"}),
        (
            f"{COMMAND_LINE}assert CliRunner().invoke(app, ['ls', 'step']).exit_code == 0",
            {"pydantic"},
        ),
    ],
    ids=["import", "errors", "register", "recipe", "spec", "ls", "help", "ls command"],
)
def test_loads_nothing_heavy(code, allowed):
    assert heavy_after(code) <= allowed


@pytest.mark.slow
def test_a_name_is_loaded_when_it_is_used():
    assert "torch" in heavy_after("import regiontok; regiontok.Regions")

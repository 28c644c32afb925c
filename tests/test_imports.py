"""What is imported when: names, specs and help must not wait for torch."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "skimage", "sklearn", "timm", "numba", "pydantic"}


def heavy_after(code: str) -> set[str]:
    """The heavy packages that are loaded in a clean process after `code`."""
    check = f"{code}\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(run.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import regiontok",
        "from regiontok.settings import registry, spec; spec.parse(\"merge(0.7) | sort('com')\"); registry.check('step', 'merge(0.7)')",
        "from regiontok.jobs.ls import methods_by_kind; assert 'merge' in methods_by_kind()['step']",
        "from regiontok.cli.app import app\nfrom typer.testing import CliRunner\nassert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from regiontok.cli.app import app\nfrom typer.testing import CliRunner\nassert CliRunner().invoke(app, ['ls', 'step']).exit_code == 0",
    ],
    ids=["import", "spec", "ls", "help", "ls command"],
)
def test_loads_nothing_heavy(code):
    assert heavy_after(code) <= {"pydantic"}


def test_a_name_is_loaded_when_it_is_used():
    assert "torch" in heavy_after("import regiontok; regiontok.Regions")


def test_unknown_name_is_an_attribute_error():
    import regiontok

    with pytest.raises(AttributeError, match="no attribute 'Region'"):
        _ = regiontok.Region

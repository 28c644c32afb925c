"""The plug-in of `examples/plugin`, installed as a user installs it, works everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from skimage.data import chelsea

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment variables of a process in which the plug-in is installed."""
    site = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", str(site)]
    subprocess.run([*install, str(PLUGIN)], check=True, capture_output=True)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def python(code: str, environment: dict[str, str], folder: Path | None = None) -> str:
    """What a fresh process prints."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def regiontok(*words: str, environment: dict[str, str], folder: Path) -> str:
    """What a command of regiontok prints."""
    code = f"from regiontok.cli.app import main; import sys; sys.argv[1:] = {list(words)!r}; main()"
    return python(code, environment, folder)


@pytest.mark.slow
def test_its_methods_are_listed_and_built(environment):
    code = """
from regiontok.settings import registry
assert "largest" in registry.names("step") and "first" in registry.names("pool")
step = registry.build("step", "largest(20)")
assert registry.render(step) == "largest(20)"
print(registry.summary("step", "largest"))
print(registry.summary("pool", "first"))
"""
    assert python(code, environment).splitlines() == [
        "Keep only the k largest regions of a view.",
        "A block of tokens a region: its first n patches in raster order, as they are.",
    ]


@pytest.mark.slow
def test_its_methods_pass_the_battery_of_the_house(environment):
    code = """
from regiontok.testing import check_method
check_method("step", "largest(2)", partition=False)
check_method("step", "largest(100)")
check_method("pool", "first(3)")
"""
    python(code, environment)


@pytest.mark.slow
def test_its_methods_work_from_python_and_in_a_saved_tokenizer(environment, tmp_path):
    code = """
from skimage.data import chelsea
from regiontok import RegionTokenizer
tokenizer = RegionTokenizer("filters", "merge(k=30) | largest(5)", pool="first(4)")
tokens = tokenizer(chelsea())
assert tokens.counts.tolist() == [20], tokens.counts
tokenizer.save_pretrained("saved")
again = RegionTokenizer.from_pretrained("saved")
assert again.settings == tokenizer.settings
assert again(chelsea()).values.equal(tokens.values)
"""
    python(code, environment, tmp_path)


@pytest.mark.slow
def test_its_methods_work_on_the_command_line_and_in_a_recipe(environment, tmp_path):
    from PIL import Image

    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    words = ["tokenize", "cat.png", "--encoder", "filters", "--no-picture", "--out", "out"]
    words += ["--regions", "merge(k=30) | largest(5)", "--pool", "first(4)"]
    printed = regiontok(*words, environment=environment, folder=tmp_path)
    (row,) = json.loads(printed.splitlines()[-1])["settings"]
    assert (row["regions"], row["tokens"]) == (5, 20)
    assert "largest" in regiontok("ls", "step", environment=environment, folder=tmp_path)
    recipe = """
name = "largest"
what = "A recipe with methods of a plug-in"
[tokenizer]
encoder = "filters"
regions = "merge(k=30) | largest(5)"
pool = "first(4)"
"""
    (tmp_path / "largest.toml").write_text(recipe, encoding="utf-8")
    code = """
from skimage.data import chelsea
from regiontok import RegionTokenizer
print(RegionTokenizer.from_recipe("largest.toml")(chelsea()).counts.tolist())
"""
    assert python(code, environment, tmp_path).strip() == "[20]"


@pytest.mark.slow
def test_a_recipe_with_its_methods_trains_and_the_saved_model_answers(environment, tmp_path):
    overrides = [
        "tokenizer.regions='merge(k=8) | largest(6)'",
        "tokenizer.pool='first(3)'",
        "every_stage.steps=4",
    ]
    words = ["train", "train/colour", *overrides, "--out", "run"]
    regiontok(*words, environment=environment, folder=tmp_path)
    code = """
from skimage.data import chelsea
from regiontok import Picture, RegionVLM
model = RegionVLM.from_pretrained("run/1_colour").eval()
tokens = model.see([Picture.of(chelsea())])
assert 6 <= len(tokens) <= 18, len(tokens)
"""
    python(code, environment, tmp_path)

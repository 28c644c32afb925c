"""tools/ship.py: a run becomes a model of the package, which is then called by its name."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from regiontok.jobs.answer.plan import recipe_of
from regiontok.jobs.demo_answers import KINDS, demo_answers
from regiontok.jobs.ls import model_rows
from regiontok.model.conversation import open_conversation_model
from regiontok.model.vlm import RegionVLM
from regiontok.system import shipped_models
from samples.command_line import regiontok
from samples.training import ALIGN, run_recipe, toy_recipe

SCRIPT = Path(__file__).parents[2] / "tools" / "ship.py"
BENCH = "miniworld(2, size=128)"


@pytest.fixture(scope="module")
def tool():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("tools_ship", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shipped(tool, tmp_path_factory):
    """The folder of shipped models with a toy in it, its run, and the facts that were written."""
    root = tmp_path_factory.mktemp("ship")
    stage = {
        **ALIGN,
        "data": [{"records": "world(8, size=128, captions=False)"}],
        "train": ["connector", "language_model"],
        "max_length": 4096,
        "steps": 2,
    }
    model = {"language_model": "mini(width=32, layers=1, heads=2, vocabulary='world')"}
    run_recipe(toy_recipe(stage, model=model), root / "run")
    tool.COMPARED = 4
    facts = tool.ship(root / "run", "mini-toy", root / "work", bench=BENCH, out=root / "shipped")
    return root / "shipped", root / "run", facts


@pytest.fixture
def here(shipped, monkeypatch):
    """The toy is the package's only model."""
    monkeypatch.setattr(shipped_models, "FOLDER", shipped[0])
    return shipped


@pytest.mark.slow
def test_a_run_becomes_a_model_that_is_called_by_its_name(here, tmp_path):
    folder, run, facts = here
    tensors = load_file(folder / "mini-toy" / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    assert all(name.startswith(("head.", "language_model.")) for name in tensors)
    assert json.loads((folder / "mini-toy" / "shipped.json").read_text()) == facts
    assert facts["rounding"]["questions"] == 4
    assert 0 < facts["rounding"]["largest_difference_of_logits"] < 0.1
    assert facts["command"] == "regiontok train toy.toml --out run --device cpu"
    trained = RegionVLM.from_pretrained(run / "1_align").state_dict()
    for name in ("mini", "mini-toy"):
        model = RegionVLM.from_pretrained(name)
        for key, value in model.state_dict().items():
            assert torch.equal(value, trained[key].bfloat16().float()), key
        assert recipe_of(name) == "toy"
    assert open_conversation_model("mini").phrasing.independent
    (row,) = model_rows()
    assert (row["name"], row["alias"], row["bench"]) == ("mini-toy", "mini", BENCH)
    assert row["score"] == facts["accuracy"]["scores"]["miniworld"]["value"]
    result = regiontok("ls", "models")
    assert "mini = mini-toy" in result.stdout
    result = regiontok("answer", "mini", BENCH, "--out", tmp_path / "answers")
    assert result.exit_code == 0, result.stderr
    result = regiontok("score", tmp_path / "answers", "--json")
    assert json.loads(result.stdout)["runs"][0]["scores"] == facts["accuracy"]["scores"]


@pytest.mark.slow
def test_the_demo_asks_it_and_draws_where_it_looked(here, tmp_path):
    answers = demo_answers(tmp_path)
    assert {each.question.kind for each in answers} == set(KINDS)
    with (
        Image.open(tmp_path / "answers.png") as sheet,
        Image.open(tmp_path / "generated.png") as im,
    ):
        assert sheet.width > 1500
        assert im.size == (192, 192)
    report = answers[0].report()
    assert report["expected"] == "no"
    assert len(report["regions"]) == 2  # windows(2)


@pytest.mark.slow
def test_a_shipped_model_is_asked_anew(tool, here, tmp_path):
    folder, _, facts = here
    again = tool.ship(
        folder / "mini-toy",
        "mini-toy",
        tmp_path / "work",
        bench="miniworld(2, size=128, kinds='colour,shape')",
        out=tmp_path / "shipped",
    )
    names = {path.name for path in (folder / "mini-toy").iterdir()}
    assert {path.name for path in (tmp_path / "shipped" / "mini-toy").iterdir()} == names
    assert {name: again[name] for name in again if name != "accuracy"} == {
        name: facts[name] for name in facts if name != "accuracy"
    }
    assert 0 < again["accuracy"]["questions"] < facts["accuracy"]["questions"]


def test_an_unfinished_run_is_refused(tool, tmp_path):
    (tmp_path / "resolved.toml").write_text('[[stage]]\nname = "looking"\n')
    with pytest.raises(ValueError, match="is not finished: there is no 1_looking"):
        tool.final_model(tmp_path)


@pytest.mark.slow
def test_what_a_training_went_on_from_is_among_its_facts(tool, here, monkeypatch):
    folder, _, facts = here
    monkeypatch.setattr(tool, "FOLDER", folder)
    start = tool.facts_of_start("mini-toy")
    assert start["recipe"] == facts["recipe"]
    assert len(start["sha256"]) == 64
    with pytest.raises(ValueError, match="no model that comes with the package"):
        tool.facts_of_start("runs/toy")

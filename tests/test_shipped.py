"""The models that come with the package: small, whole, and as good as their files say."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regiontok.data.world import WorldImage, picture_of_world
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer
from regiontok.jobs.chat.session import open_chat
from regiontok.jobs.report.runs import score_run
from regiontok.system.shipped_models import FOLDER, shipped_models

MOST_BYTES = 25_000_000
MODELS = sorted(path.parent.name for path in FOLDER.glob("*/shipped.json"))
FILES = {
    *("chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"),
    *("processor_config.json", "shipped.json", "tokenizer.json", "tokenizer_config.json"),
}


def tool():
    """tools/ship.py, which wrote them, as a module."""
    path = Path(__file__).parents[1] / "tools" / "ship.py"
    spec = importlib.util.spec_from_file_location("tools_ship", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_all_models_together_are_small_and_hold_nothing_else():
    models = shipped_models()
    assert sorted(models) == MODELS
    assert sum(model.size for model in models.values()) < MOST_BYTES
    folders = [path for path in FOLDER.glob("*") if path.is_dir()]
    assert sorted(folder.name for folder in folders) == MODELS
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == FILES


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_how_it_came_about(name):
    model = shipped_models()[name]
    facts = model.facts
    assert tomllib.loads(facts["recipe"]["resolved"])["name"] == model.recipe
    assert facts["command"].startswith("regiontok train ")
    assert facts["licence"] == "Apache-2.0"
    assert facts["encoder"]["licence"]
    rounding = facts["rounding"]
    assert rounding["same_replies"] >= 0.9 * rounding["questions"]
    guesser = facts["accuracy"]["baselines"]["guesser"]["miniworld"]
    assert model.score > guesser + 10
    tensors = load_file(model.folder / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    assert sum(value.numel() for value in tensors.values()) == model.parameters
    assert all(key.startswith(("head.", "language_model.")) for key in tensors)


@pytest.mark.skipif(not MODELS, reason="this checkout has no models")
@pytest.mark.slow
def test_mini_answers_about_a_generated_picture():
    picture = picture_of_world(str(WorldImage("test", 0, 192, 46)))
    chat = open_chat("mini", [picture.pixels], longest=8)
    assert chat.ask("what color is the square").text == "red"
    looked = chat.answers[0].attention[0].first_view
    assert looked.visual > 0.1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_the_reported_answers_come_again(name, tmp_path):
    """The first questions of the bench; those of all take minutes a model."""
    facts = shipped_models()[name].facts["accuracy"]
    options = AnswerOptions(
        model=name, bench=facts["bench"], data=None, limit=facts["first"]["questions"]
    )
    plan = AnswerPlan.of(options)
    answer(plan, tmp_path)
    again, noted = tool().first_replies(plan, score_run(tmp_path, resamples=0)), facts["first"]
    # another processor adds in another order, and a uniform background has ties: then replies
    # may differ, but hardly how many are right
    assert again == noted or abs(again["right"] - noted["right"]) <= 8
    assert again["questions"] == noted["questions"]

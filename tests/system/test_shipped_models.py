"""Models that come with the package: by name, the best one, and what errors say of them."""

from __future__ import annotations

import json

import pytest

from regiontok.system import shipped_models
from regiontok.system.checkpoint import locate
from regiontok.system.errors import UnusableModel


def facts(score: float) -> str:
    scores = {"miniworld": {"value": score}, "miniworld_colour": {"value": 1}}
    accuracy = {"bench": "miniworld", "scores": scores}
    recipe = {"name": "patch"}
    return json.dumps({"what": "W", "recipe": recipe, "parameters": 7, "accuracy": accuracy})


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = tmp_path / "shipped"
    for name, score in (("mini-a", 61.0), ("mini-b", 72.5), ("mini-c", 10.0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "shipped.json").write_text(facts(score))
    monkeypatch.setattr(shipped_models, "FOLDER", folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_mini_is_the_best_and_a_folder_goes_before_a_name(shipped, tmp_path, monkeypatch):
    assert shipped_models.shipped_names() == ["mini", "mini-a", "mini-b", "mini-c"]
    assert locate("mini") == locate("mini-b") == shipped / "mini-b"
    best = shipped_models.best_model()
    assert (best.name, best.score, best.recipe, best.parameters) == ("mini-b", 72.5, "patch", 7)
    assert best.size == len(facts(72.5))
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("mini") != shipped / "mini-b"


def test_an_unknown_name_hears_of_the_shipped_ones(shipped):
    with pytest.raises(
        ValueError,
        match=r"with the package come mini, mini-a, mini-b, mini-c \(did you mean 'mini-a'\?\)",
    ):
        locate("mini-aa")
    with pytest.raises(ValueError, match="gives") as caught:
        locate("someone/mini-aa")
    assert "with the package" not in str(caught.value)
    with pytest.raises(ValueError, match="revision='main' belongs to a hub name"):
        locate("mini", "main")


def test_a_damaged_model_is_one_error_and_no_models_are_none(shipped, monkeypatch, tmp_path):
    (shipped / "mini-a" / "shipped.json").write_text('{"what": "W"}')
    with pytest.raises(UnusableModel, match="mini-a came with the package and cannot be read"):
        locate("mini-a")
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path / "none")
    assert shipped_models.local_folder("mini") is None
    assert shipped_models.best_model() is None
    assert shipped_models.shipped_hint("mini") == ""

"""`regiontok ls` and `show`."""

from __future__ import annotations

import json

import pytest

from regiontok.settings.recipe import load_recipe
from samples.command_line import regiontok


@pytest.mark.slow
def test_ls_names_every_kind():
    result = regiontok("ls")
    assert result.exit_code == 0
    for word in ("lite", "felzenszwalb", "merge", "attend", "mlp", "regiontok ls recipes"):
        assert word in result.stdout
    assert "quick/cluster" in regiontok("ls", "recipes").stdout


@pytest.mark.slow
def test_ls_of_one_kind():
    result = regiontok("ls", "steps")
    assert "merge" in result.stdout
    assert "felzenszwalb" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("word", ["step", "pools", "families", "family", "recipe"])
def test_ls_takes_one_and_many(word):
    assert regiontok("ls", word).exit_code == 0


@pytest.mark.parametrize(("word", "hint"), [("stepp", "did you mean 'steps'?"), ("bogus", "")])
def test_ls_of_an_unknown_kind(word, hint):
    result = regiontok("ls", word)
    assert result.exit_code == 2
    assert f"there is no list of {word!r}" in result.stderr
    assert hint in result.stderr
    assert "recipes" in result.stderr


@pytest.mark.slow
def test_ls_of_what_matches():
    by_glob = regiontok("ls", "recipes", "study/table1_*").stdout
    assert "study/table1_clip_patch" in by_glob
    assert "table6" not in by_glob
    by_text = regiontok("ls", "encoders", "DINO").stdout
    assert "dinov2-l" in by_text
    assert "clip-l14" not in by_text
    nothing = regiontok("ls", "recipes", "study/tabel1_clip_patch")
    assert nothing.exit_code == 2
    assert "did you mean 'study/table1_clip_patch'" in nothing.stderr


def test_ls_as_json():
    report = regiontok("ls", "encoders", "dinov2-l", "--json").report
    assert [row["name"] for row in report["encoders"]] == ["dinov2-l", "dinov2-l-reg"]
    assert "merge" in json.loads(regiontok("ls", "--json").stdout)["lists"]["step"]


def test_show_a_method():
    result = regiontok("show", "merge")
    assert result.exit_code == 0
    assert "step merge(threshold" in result.stdout
    assert "Differs:" in result.stdout


def test_show_a_recipe_with_an_override_and_a_scale():
    words = ["study/table1_clip_cluster_rms", "tokenizer.pool=mean", "--scale", "paper"]
    result = regiontok("show", *words)
    assert result.exit_code == 0, result.output
    assert 'pool = "mean"' in result.stdout
    assert "openai/clip-vit-large-patch14-336" in result.stdout


@pytest.mark.parametrize(
    ("name", "meant"),
    [("quick/clustr", "'quick/cluster'"), ("mrege", "'merge'"), ("dinov2-i", "'dinov2-l'")],
)
def test_show_what_is_not_there(name, meant):
    result = regiontok("show", name)
    assert result.exit_code == 2
    assert f"did you mean {meant}" in result.stderr


def test_show_a_short_name():
    result = regiontok("show", "dinov2-l")
    assert result.stdout.startswith("dinov2-l stands for transformers('facebook/dinov2-large')")
    assert "encoder transformers(model" in result.stdout


def test_a_shown_recipe_is_a_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a job's environment may say
    name = "og_llava/table1_8b_665k_fusion"  # it has lines of 147 characters
    path = tmp_path / "mine.toml"
    path.write_text(regiontok("show", name, "--scale", "paper").stdout)
    mine, shipped = load_recipe(path), load_recipe(name, scale="paper")
    assert mine.tokenizer == shipped.tokenizer
    assert mine.stage == shipped.stage
    report = json.loads(regiontok("show", name, "--scale", "paper", "--json").stdout)
    assert report["recipe"] == shipped.model_dump()


RUN = [
    {"stage": 1, "kind": "stage", "step": 0, "name": "alignment", "steps": 2},
    {"stage": 1, "kind": "step", "step": 1, "loss": 4.0, "learning_rate": 1e-3},
    {"stage": 1, "kind": "step", "step": 2, "loss": 3.0, "learning_rate": 1e-3},
    {"stage": 1, "kind": "eval", "step": 2, "eval_loss": 3.5, "eval_exact_match": 0.25},
    {"stage": 2, "kind": "stage", "step": 0, "name": "tuning", "steps": 1},
    {"stage": 2, "kind": "step", "step": 1, "loss": 2.0, "learning_rate": 1e-3},
    {"stage": 2, "kind": "eval", "step": 1, "eval_loss": 2.5, "eval_exact_match": 0.5},
]


def test_show_a_training_run(tmp_path):
    pytest.importorskip("matplotlib")
    lines = "".join(json.dumps(entry) + "\n" for entry in RUN)
    (tmp_path / "log.jsonl").write_text(lines)
    result = regiontok("show", tmp_path)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["2", "1", "2.500", "0.500"] in rows
    assert (tmp_path / "curves.png").is_file()
    (tmp_path / "log.jsonl").write_text("")
    assert "no step of `regiontok train`" in regiontok("show", tmp_path).stderr


def test_a_method_is_shown_though_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "merge").mkdir()
    assert regiontok("show", "merge").stdout.startswith("step merge(")


def test_show_an_output_folder(photos, tmp_path):
    words = ["--encoder", "filters", "--regions", "windows(4)", "--no-picture"]
    regiontok("tokenize", photos / "a.png", *words, "--out", tmp_path / "out")
    result = regiontok("show", tmp_path / "out" / "a.png")
    text = " ".join(result.stdout.split())
    assert "windows(4): 4 tokens (patches 576 -> windows(4) 4)" in text
    assert regiontok("show", tmp_path).exit_code == 2

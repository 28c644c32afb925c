"""`regiontok ls` and `show`."""

from __future__ import annotations

from samples.command_line import regiontok


def test_ls_names_every_kind():
    result = regiontok("ls")
    assert result.exit_code == 0
    for word in ("lite", "felzenszwalb", "merge", "attend", "mlp", "regiontok ls recipes"):
        assert word in result.stdout
    assert "quick/cluster" in regiontok("ls", "recipes").stdout


def test_ls_of_one_kind():
    result = regiontok("ls", "steps")
    assert "merge" in result.stdout
    assert "felzenszwalb" not in result.stdout


def test_ls_of_an_unknown_kind():
    result = regiontok("ls", "stepp")
    assert result.exit_code == 2
    assert "did you mean 'step'?" in result.stderr


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


def test_show_what_is_not_there():
    result = regiontok("show", "quick/clustr")
    assert result.exit_code == 2
    assert "did you mean 'quick/cluster'?" in result.stderr


def test_show_an_output_folder(photos, tmp_path):
    words = ["--encoder", "filters", "--regions", "windows(4)", "--no-picture"]
    regiontok("tokenize", photos / "a.png", *words, "--out", tmp_path / "out")
    result = regiontok("show", tmp_path / "out" / "a.png")
    text = " ".join(result.stdout.split())
    assert "windows(4): 4 tokens (patches 576 -> windows(4) 4)" in text
    assert regiontok("show", tmp_path).exit_code == 2

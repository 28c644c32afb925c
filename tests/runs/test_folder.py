"""A run's folder: when it may begin, what resuming compares, and what its log holds."""

from __future__ import annotations

import json

import pytest

from regiontok.runs.errors import OtherRun
from regiontok.runs.folder import RunFolder
from regiontok.settings.recipe import Recipe, resolve


def recipe(seed: int = 0) -> Recipe:
    return resolve({"what": "test", "tokenizer": {"seed": seed}}, name="toy")


def begun(path, *, steps: int = 1) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(recipe(), "as read", resume=False, decisive_options={"held_out": 2})
    for step in range(1, steps + 1):
        folder.record({"kind": "step", "step": step, "loss": 1.0})
    return folder


def test_a_start_leaves_the_recipe_and_the_options_that_decide(tmp_path):
    folder = begun(tmp_path / "run")
    assert (folder.path / "recipe.toml").read_text() == "as read"
    assert "seed = 0" in (folder.path / "resolved.toml").read_text()
    assert json.loads((folder.path / "options.json").read_text()) == {"held_out": 2}


def test_a_run_is_gone_on_with_only_on_request_and_with_the_same_settings(tmp_path):
    folder = begun(tmp_path)
    with pytest.raises(ValueError, match="holds a run already: go on with --resume"):
        folder.begin(recipe(), "", resume=False, decisive_options={"held_out": 2})
    folder.begin(recipe(), "", resume=True, decisive_options={"held_out": 2})
    with pytest.raises(OtherRun, match=r"there 'tokenizer.seed = 0', now 'tokenizer.seed = 1'"):
        folder.begin(recipe(seed=1), "", resume=True, decisive_options={"held_out": 2})
    with pytest.raises(OtherRun, match="there '\"held_out\": 2', now '\"held_out\": 3'"):
        folder.begin(recipe(), "", resume=True, decisive_options={"held_out": 3})


def test_a_run_of_a_version_before_a_field_was_added_goes_on(tmp_path):
    """Its `resolved.toml` lacks the field, whose default is what that version did."""
    folder = begun(tmp_path)
    path = tmp_path / "resolved.toml"
    text = path.read_text()
    assert "seed = 0\n" in text
    path.write_text(text.replace("seed = 0\n", "").replace('what = "test"', 'what = "said so"'))
    assert folder.begin(recipe(), "", resume=True, decisive_options={"held_out": 2}) == []
    path.write_text(text.replace("seed = 0\n", "gone = 0\n"))
    with pytest.raises(OtherRun, match=r"its resolved.toml cannot be read .*gone"):
        folder.begin(recipe(), "", resume=True, decisive_options={"held_out": 2})


@pytest.mark.parametrize("resume", [False, True])
def test_a_start_without_a_step_is_replaced_by_the_next_one(tmp_path, resume):
    folder = begun(tmp_path, steps=0)
    folder.begin(recipe(seed=1), "another", resume=resume)
    assert "seed = 1" in (tmp_path / "resolved.toml").read_text()
    assert (tmp_path / "recipe.toml").read_text() == "another"


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, resume):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        RunFolder(tmp_path).begin(recipe(), "", resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_start_that_was_killed_while_it_wrote_is_begun_anew(tmp_path):
    for name in ("recipe.toml", "options.json", ".resolved.toml.part"):
        (tmp_path / name).write_text("half")
    RunFolder(tmp_path).begin(recipe(), "as read", resume=False)
    assert (tmp_path / "recipe.toml").read_text() == "as read"


def test_the_log_is_rewound_and_a_line_that_was_cut_off_is_none(tmp_path):
    folder = begun(tmp_path, steps=3)
    with folder.log.open("a") as file:
        file.write('{"kind": "st')
    assert [entry["step"] for entry in folder.entries()] == [1, 2, 3]
    folder.rewind(lambda entry: entry["step"] <= 2)
    assert [entry["step"] for entry in folder.entries()] == [1, 2]


def test_every_start_adds_its_provenance(tmp_path):
    folder = RunFolder(tmp_path)
    folder.add_start({"step": 0})
    folder.add_start({"step": 5})
    assert json.loads((tmp_path / "provenance.json").read_text()) == [{"step": 0}, {"step": 5}]

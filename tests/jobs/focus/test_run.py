"""`regiontok focus` from files to a table: resumed after a kill, other settings refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.evaluation.focus_options import FocusOptions
from regiontok.jobs.chat.comparison import ComparedModel
from regiontok.jobs.focus.results import OtherFocus
from regiontok.jobs.focus.run import FocusRun, measure_focus
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.command_line import regiontok
from samples.released import tiny_llava

WORLD = "miniworld(3, size=64, questions='colour')"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A trained model of random weights, and a released one, in folders."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    processor = RegionVLMProcessor(mini_tokenizer())
    visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=4)", whole=True)
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=2, heads=4),
        visual,
        image_token_id=processor.tokenizer.image_token_id,
    )
    model.save_pretrained(folder / "trained")
    processor.save_pretrained(folder / "trained")
    for part in tiny_llava():
        part.save_pretrained(folder / "llava")
    return folder


def run_of(models, out, *texts, **changes):
    named = [ComparedModel.of(text.format(models)) for text in texts or ("Own={}/trained",)]
    return FocusRun(models=named, data=WORLD, out=out, longest=3, **changes)


def measured(run):
    questions = run.questions()
    return measure_focus(run, questions), questions


@pytest.mark.slow
def test_trained_and_released_models_on_the_same_samples(models, tmp_path):
    texts = ("Own={}/trained", "Llava={}/llava", "Windows={}/llava::windows(4)")
    report, questions = measured(run_of(models, tmp_path, *texts))
    assert list(report["models"]) == ["Own", "Llava", "Windows"]
    for entry in report["models"].values():
        assert entry["samples"] == len(questions) > 0
        assert 0 < entry["focus"] < 1
        assert entry["lift"] == pytest.approx(entry["focus"] / entry["chance"])
    assert report["models"]["Llava"]["tokens"] == 16
    assert report["models"]["Windows"]["tokens"] == 4
    assert json.loads((tmp_path / "focus.json").read_text()) == json.loads(json.dumps(report))


def test_a_killed_run_goes_on(models, tmp_path, monkeypatch):
    run = run_of(models, tmp_path)
    whole, questions = measured(run)
    path = tmp_path / "Own.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + len(questions)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert measured(run)[0] == whole
    assert path.read_bytes() == b"".join(lines)

    def refuse(*_args, **_kwargs):
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr("regiontok.jobs.chat.comparison.open_conversation_model", refuse)
    other = run_of(models, tmp_path, options=FocusOptions(threshold=0.9))
    assert measured(other)[0]["models"]["Own"]["chance"] < whole["models"]["Own"]["chance"]


def test_samples_of_other_settings_are_refused_or_replaced(models, tmp_path):
    measured(run_of(models, tmp_path))
    changed = {"options": FocusOptions(keys="visual")}
    with pytest.raises(OtherFocus, match="samples of keys='all', now it is 'visual'"):
        measured(run_of(models, tmp_path, **changed))
    report, _ = measured(run_of(models, tmp_path, overwrite=True, **changed))
    assert report["models"]["Own"]["regular"] > 0.5
    (tmp_path / "Own.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(OtherFocus, match="line 1, is none of regiontok focus"):
        measured(run_of(models, tmp_path))


@pytest.fixture
def folder(tmp_path):
    """Three photos: one with a mask of another size, one missing, one with an empty mask."""
    mask = np.zeros((1, 40, 60), bool)
    mask[:, 10:30, 10:40] = True
    codes = [PixelMasks.from_dense(each).to_coco()[0] for each in (mask, mask, mask[:, :1] * False)]
    content = {
        "images": [{"id": index, "file_name": f"{index}.png"} for index in range(3)],
        "annotations": [
            {"image_id": index, "segmentation": code} for index, code in enumerate(codes)
        ],
    }
    data = tmp_path / "data"
    data.mkdir()
    (data / "FinalSegmentations.json").write_text(json.dumps(content))
    for index in (0, 2):
        Image.effect_noise((30, 20), 60).convert("RGB").save(data / f"{index}.png")
    return data


def test_the_command_sets_bad_questions_aside_and_counts_rescaled_masks(models, folder, tmp_path):
    words = ("focus", f"Own={models}/trained", "--data", folder, "--ask", "What?", "--longest", 2)
    ended = regiontok(*words, "--out", tmp_path / "out", "--set", "support=content")
    assert ended.exit_code == 1
    entry = ended.report["models"]["Own"]
    assert (entry["samples"], entry["rescaled"], sorted(entry["set_aside"])) == (
        1,
        1,
        ["1.png", "2.png"],
    )
    assert "its masks are empty" in entry["set_aside"]["2.png"]
    assert "1 pictures have masks of another size" in ended.stderr
    assert "set aside: 2" in ended.stderr
    assert "threshold=0.07" in ended.stdout
    assert "lift within" in ended.stdout


def test_a_users_mistakes_are_one_line(models, folder, tmp_path):
    model = f"{models}/trained"
    for words, message in (
        ((model, "--data", tmp_path / "x"), "no such folder"),
        ((model, "--data", folder), "masks but no questions"),
        ((model, "--data", WORLD, "--set", "tau=1"), "focus has no setting 'tau'"),
        ((model, f"{model}", "--data", WORLD), "say NAME=FOLDER"),
        ((model, "--data", WORLD, "--set", "layers=9"), "none of 3 questions could be measured"),
    ):
        ended = regiontok("focus", *words, "--out", tmp_path / "out")
        assert ended.exit_code == 2, ended.output
        assert message in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1

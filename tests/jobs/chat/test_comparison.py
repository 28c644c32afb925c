"""Several models asked the same: figures of where they look and of what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.jobs.chat.comparison import (
    AskedQuestion,
    ComparedModel,
    answers_figure,
    attention_figure,
    compare,
    questions_about,
)
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.command_line import regiontok
from samples.pictures import noise

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two untrained models: one of regions with a whole image, one of patches without."""
    root = tmp_path_factory.mktemp("models")
    for name, settings in (
        ("regions", {"regions": "merge(k=4)", "whole": True}),
        ("patches", {"norm": "rms"}),
    ):
        torch.manual_seed(0)
        processor = RegionVLMProcessor(mini_tokenizer())
        model = RegionVLM.from_parts(
            mini_language_model(width=24, layers=1, heads=2),
            TokenizerSettings(encoder="filters(size=56)", **settings),
            image_token_id=processor.image_token_id,
        )
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    return root


@pytest.fixture
def questions():
    return questions_about([noise(40, 60), noise(60, 40)], ["What is it?"], ["a cat", "a dog"])


def test_a_row_an_encoder_and_a_column_a_method(folders, questions):
    texts = [f"{row}/{name}={folders / name}" for row in "AB" for name in ("patches", "regions")]
    ticks = []
    comparison = compare(
        [ComparedModel.of(text) for text in texts[:3]],
        questions,
        longest=2,
        tick=lambda: ticks.append(1),
    )
    assert len(ticks) == 6
    drawn = attention_figure(comparison)
    assert (drawn.heads, drawn.titles) == (["photo", "patches", "regions"], ["A", "A", "B", "B"])
    assert [panel is not None for panel in drawn.rows[3]] == [True, True, False]
    assert "G: the token of the whole image" in drawn.note
    report = comparison.report()
    assert [answer["model"] for answer in report[0]["answers"]] == [
        "A/patches",
        "A/regions",
        "B/patches",
    ]
    assert report[1]["expected"] == "a dog"
    assert report[1]["answers"][0]["right"] in (True, False)


def test_answers_side_by_side_are_marked(folders, questions):
    comparison = compare([ComparedModel.of(f"one={folders / 'regions'}")], questions, longest=2)
    drawn = answers_figure(comparison)
    assert len(drawn.rows) == 1
    caption = drawn.rows[0][0].caption.splitlines()
    assert caption[0] == "What is it?"
    assert caption[1].startswith("one: ")
    assert caption[-1] == "expected: a cat"
    narrow = answers_figure(comparison, columns=1)
    assert len(narrow.rows) == 2


@pytest.mark.parametrize(
    ("answer", "mark"),
    [("A cat.", "✓"), ("It is a CAT, a cat!", "✓"), ("category", "✗"), ("", "✗")],
)
def test_an_answer_is_right_if_it_says_the_expected_words(answer, mark):
    assert AskedQuestion(noise(4, 4), "?", "cat").mark(answer) == mark
    assert AskedQuestion(noise(4, 4), "?").mark(answer) == ""


@pytest.mark.slow
def test_the_command_draws_and_says_what_was_answered(folders, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    words = ("compare", f"P={folders / 'patches'}", f"R={folders / 'regions'}", "--images")
    options = ("--ask", "What?", "--longest", 2, "--out", tmp_path / "figure.svg")
    result = regiontok(*words, tmp_path / "a.png", *options)
    assert result.exit_code == 0, result.stderr
    (question,) = result.report["questions"]
    assert [answer["model"] for answer in question["answers"]] == ["P", "R"]
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    twice = regiontok(
        "compare",
        str(folders / "patches"),
        str(folders / "patches"),
        "--images",
        tmp_path / "a.png",
        *options,
    )
    assert "two models have one name" in twice.stderr


@pytest.mark.parametrize("text", ["=folder", "CLIP/=folder", "name=", "::merge(0.7)"])
def test_a_model_is_named_by_its_folder(text):
    with pytest.raises(ValueError, match=r"expected \[ROW/\]NAME=FOLDER"):
        ComparedModel.of(text)


def test_as_many_questions_as_photos():
    with pytest.raises(
        ValueError, match=r"2 photos want one question or as many.* got 3 questions"
    ):
        questions_about([Picture.of(np.zeros((4, 4, 3), np.uint8))] * 2, ["a", "b", "c"], [])
    with pytest.raises(ValueError, match="at least one model and one question"):
        compare([], [])

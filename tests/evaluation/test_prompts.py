"""The study's prompts word for word, and published alternatives against their recorded texts."""

from __future__ import annotations

import json

import pytest

from regiontok.evaluation.prompts import ask_choice, ask_short, caption_choice


def test_a_short_answer_is_asked_as_the_study_asks():
    assert ask_short(" Is there a dog? ") == (
        "Is there a dog?\nAnswer the question using a single word or phrase."
    )
    assert ask_short("Is there a dog?", style="bare") == "Is there a dog?"


def test_a_choice_is_asked_as_the_study_asks():
    assert ask_choice("How many?", ["one", "two"], hint="Look left.") == (
        "Look left.\nHow many?\nA. one\nB. two\n"
        "Answer with the option's letter from the given choices directly."
    )


@pytest.mark.parametrize("options", [[], ["one"], ["x"] * 27])
def test_a_choice_has_options(options):
    with pytest.raises(ValueError, match=f"a choice has 2 to 26 options, got {len(options)}"):
        ask_choice("How many?", options)


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match=r"not 'cvbnch' \(did you mean 'cvbench'\?\)"):
        ask_choice("How many?", ["1", "2"], style="cvbnch")


def test_cv_benchs_own_prompt(data):
    records = json.loads((data / "golden" / "cvbench.json").read_text())["real_records"]
    for record in records:
        asked = ask_choice(record["question"], record["choices"], style="cvbench")
        assert asked == record["prompt"]


def test_a_choice_as_vlmevalkit_asks():
    assert ask_choice("How many?", ["{one}", "two"], hint="Look.", style="vlmevalkit") == (
        "Hint: Look.\nQuestion: How many?\nOptions:\nA. {one}\nB. two\n"
        "Please select the correct answer from the options above."
    )


def test_captions_as_og_llava_asks(data):
    golden = json.loads((data / "golden" / "aro_conme.json").read_text())
    for name in ("prompt_vg", "prompt_order"):
        captions = [line[2:] for line in golden[name].splitlines() if line[1:2] == "."]
        assert len(captions) in (2, 5)
        assert caption_choice(captions) == golden[name]

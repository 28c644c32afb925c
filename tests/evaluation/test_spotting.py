"""Text spotting against recorded outputs of OCRBench v2's own script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regiontok.evaluation.spotting import right_words, spotting_agreement, words_of

RECORDED = Path(__file__).parents[1] / "samples" / "official" / "ocrbench_v2_spotting.json"
BOX = [0, 0, 10, 10]


def test_every_recorded_reply_is_worth_what_the_published_script_says():
    recorded = json.loads(RECORDED.read_text("utf-8"))
    right = right_words(recorded["boxes"], recorded["words"])
    for case in recorded["cases"]:
        worth = spotting_agreement(words_of(case["reply"]), right)
        assert worth == pytest.approx(case["worth"], abs=1e-12), case


@pytest.mark.parametrize("text", ["", "!", "two\nlines"])
def test_odd_right_texts_are_compared_as_they_are(text):
    assert spotting_agreement(right_words([BOX], [text]), right_words([BOX], [text])) == 1


@pytest.mark.parametrize("reply", ["[" * 5000, "[[1, 2, 3, 4]]", "[[1e400, 2, 3, 4, 'a']]", ""])
def test_replies_without_words(reply):
    assert words_of(reply) == []

"""OCRBench v2: each type's own rule on a case that one can check by eye."""

from __future__ import annotations

import math

import pytest

from regiontok.benches.ocrbench_v2 import OcrbenchV2
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.question import Question
from regiontok.evaluation.scoring import score_replies
from samples.bench_folders import write_bench


@pytest.mark.parametrize(
    ("kind", "way", "answers", "reply", "worth"),
    [
        ("reasoning VQA en", "", ["Big Ben"], "It is big ben.", 1),
        ("text recognition en", "case sensitive", ["Stop"], "stop", 0),
        (
            "cognition VQA en",
            "",
            ["one two three four five"],
            "one two three four fivX",
            1 - 1 / 23,
        ),
        ("cognition VQA cn", "", ["北 京"], "在北京", 1),
        ("science QA en", "multiple choice", ["B"], "(B).", 1),
        ("science QA en", "multiple choice", ["B"], "B it is", 0),
        ("text counting en", "exact match", ["12"], "about 12", 1),
        ("text counting en", "regression", ["10"], "9 letters", 0.9),
        ("text counting en", "regression", ["10"], "4", 0),
        ("text counting en", "regression", ["10"], "none", 0),
        ("formula recognition en", "", ["x^2 + 1"], "$x^2+1$", 1),
        ("formula recognition cn", "", [r"\text{a} b"], "ab", 1),
        (
            "key information extraction en",
            "",
            ["{'a': ['1', 'one'], 'b': '2'}"],
            '{"a": "ONE"}',
            0.5,
        ),
        ("text grounding en", "", ["0", "0", "10", "10"], "[5, 5, 9, 9] or [0, 0, 10, 5]", 0.5),
        ("text grounding en", "", ["0", "0", "10", "10"], "left", 0),
        ("handwritten answer extraction cn", "", ["ABD"], "答案: A, B, D", 1),
    ],
)
def test_what_a_reply_is_worth(kind, way, answers, reply, worth):
    question = Question("1", "?", tuple(answers), groups={"type": kind}, metadata={"eval": way})
    mark = OcrbenchV2().mark(question, reply, "official")
    assert mark["right"] == pytest.approx(worth)


def test_words_and_their_place():
    groups, box = {"type": "VQA with position en"}, [0, 0, 10, 10]
    question = Question("1", "?", ("42",), groups=groups, metadata={"eval": "", "bbox": box})
    reply = '{"answer": "42", "bbox": "[0, 0, 10, 5]"}'
    assert OcrbenchV2().mark(question, reply, "official")["right"] == 0.75


def test_types_without_a_score_are_counted_and_leave_the_total_open(tmp_path):
    bench = OcrbenchV2()
    questions = load_questions(bench, BenchFolder(write_bench("ocrbench_v2", tmp_path))).questions
    score = score_replies(bench, questions, [q.answer for q in questions], resamples=0)
    assert score.counts["unscored"] == 1
    assert math.isnan(score.values["ocrbench_v2"].value)
    assert score.values["ocrbench_v2_visual_text_understanding_cn"].value == 100
    assert score.values["ocrbench_v2_scored"].value > 70

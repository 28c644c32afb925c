"""OCRBench v2: each type's own rule on a case that one can check by eye."""

from __future__ import annotations

import json
import math

import pytest

from regiontok.benches.ocrbench_v2 import OcrbenchV2
from regiontok.evaluation import page_text
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.question import Question
from regiontok.evaluation.scoring import sample_of, score_replies
from samples.bench_folders import write_bench

# types of all capabilities; the first two of each language are of the same one
EN_KINDS = (
    "text recognition",
    "full-page OCR",
    "text grounding",
    "text spotting",
    "key information mapping",
    "table parsing",
    "math QA",
    "diagram QA",
    "science QA",
)
CN_KINDS = (
    "key information extraction",
    "handwritten answer extraction",
    "full-page OCR",
    "table parsing",
    "cognition VQA",
    "text translation",
)


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


@pytest.mark.parametrize(
    ("kind", "asked", "answer", "reply", "worth"),
    [
        ("table parsing en", "in HTML", "<table><tr><td>a</td></tr></table>", "<table>", 0),
        ("table parsing en", "in Markdown", "| a |\n| - |\n| b |", "| a |\n| - |\n| b |", 1),
        ("table parsing cn", "表", "<td>a</td>", "<table><tr><td>a</td></tr></table>", 1 / 2),
        ("chart parsing en", "?", "{'a': {'b': 1}}", "x = {'a': {'b': 1}}", 1),
        ("document parsing cn", "?", "# a\nb", "# c\nd", 1),
        ("full-page OCR cn", "?", "北京", "", 0),
    ],
)
def test_what_a_parsed_page_is_worth(kind, asked, answer, reply, worth):
    question = Question("1", asked, (answer,), groups={"type": kind}, metadata={"eval": ""})
    assert OcrbenchV2().mark(question, reply, "official")["right"] == pytest.approx(worth)


@pytest.mark.parametrize("written", [str, list])
def test_spotted_words_are_read_from_lists_and_from_lists_written_as_text(written, tmp_path):
    folder = write_bench("ocrbench_v2", tmp_path)
    path = folder / "OCRBench_v2.json"
    rows = json.loads(path.read_text("utf-8"))[:1]
    words = {"bbox": written([[1, 2, 30, 40]]), "content": written(["exit"])}
    path.write_text(json.dumps([{**rows[0], "type": "text spotting en", **words}]), "utf-8")
    (question,) = load_questions(OcrbenchV2(), BenchFolder(folder)).questions
    mark = OcrbenchV2().mark(question, "[[1, 2, 30, 40, 'EXIT']]", "official")
    assert mark == {"right": 1, "unscored": 0}


def test_a_translation_of_nothing_counts_only_where_nothing_is_said():
    question = Question(
        "1", "?", ("",), groups={"type": "text translation cn"}, metadata={"eval": ""}
    )
    assert OcrbenchV2().mark(question, "", "official")["right"] == 0
    mark = OcrbenchV2().mark(question, "something", "official")
    assert math.isnan(mark["right"])
    assert mark["unscored"] == 0


def test_without_wordnet_pages_are_counted_and_leave_the_total_open(tmp_path, monkeypatch):
    monkeypatch.setattr(page_text, "_has_wordnet", lambda: False)
    bench = OcrbenchV2()
    questions = load_questions(bench, BenchFolder(write_bench("ocrbench_v2", tmp_path))).questions
    score = score_replies(bench, questions, [q.answer for q in questions], resamples=0)
    assert score.counts["unscored"] == 1
    assert math.isnan(score.values["ocrbench_v2"].value)
    assert math.isnan(score.values["ocrbench_v2_knowledge_reasoning_cn"].value)
    assert score.values["ocrbench_v2_visual_text_understanding_cn"].value == 100
    assert score.values["ocrbench_v2_element_parsing_en"].value == 100


def test_totals_are_the_means_of_the_capabilities_of_each_language():
    bench, questions, replies = OcrbenchV2(), [], []
    for language, kinds in (("en", EN_KINDS), ("cn", CN_KINDS)):
        for number, kind in enumerate(kinds):
            # the first capability has two types, one right and one wrong: it counts once
            name = f"{kind} {language}"
            questions.append(Question(name, "?", ("a",), groups={"type": name}))
            replies.append(float(number > 0))
    marks = [{"right": right, "unscored": 0.0} for right in replies]
    values = bench.score(sample_of(questions, marks))
    assert values["ocrbench_v2_text_recognition_en"] == 50
    assert values["ocrbench_v2_en"] == pytest.approx(100 * 7.5 / 8)
    assert values["ocrbench_v2_relationship_extraction_cn"] == 50
    assert values["ocrbench_v2_cn"] == pytest.approx(100 * 4.5 / 5)
    assert values["ocrbench_v2"] == pytest.approx(50 * (7.5 / 8 + 4.5 / 5))

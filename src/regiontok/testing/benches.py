"""What every bench must do, whatever else it does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.evaluation.bench import READINGS, Bench
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample, clusters
from regiontok.evaluation.scoring import sample_of, score_replies
from regiontok.testing.assertions import expect

# what models say beside the answer: nothing, another language, decoration, everything at once
ODD_REPLIES = (
    "",
    " ",
    "\n",
    "zzz",
    "Das weiß ich nicht.",
    "是",
    "**A**",
    "A or B",
    "yes no " * 200,
)


def check_bench(bench: Bench, folder: str | Path) -> None:
    """Check a bench on a folder of its files, which may be tiny.

    Args:
        bench: the bench, built.
        folder: a folder with its published files, and a picture for each question.

    Raises:
        AssertionError: If the bench does something that no bench may do.
    """
    expect(isinstance(bench, Bench), f"{bench!r} must derive from regiontok.evaluation.bench.Bench")
    expect(is_dataclass(bench), f"{bench!r} must be a dataclass: its fields are its spec text")
    expect(
        bench == type(bench)(**_arguments(bench)), f"{bench!r} is not equal to itself built anew"
    )
    loaded = load_questions(bench, BenchFolder(Path(folder)))
    aside = "; ".join(f"{question.id}: {question.reason}" for question in loaded.set_aside[:3])
    expect(not loaded.set_aside, f"{bench!r} has questions that cannot be asked: {aside}")
    again = load_questions(bench, BenchFolder(Path(folder)))
    expect(
        [q.record() for q in loaded.questions] == [q.record() for q in again.questions],
        f"{bench!r} reads other questions the second time",
    )
    for question in loaded.questions:
        _check_question(bench, question)
    _check_scores(bench, loaded.questions)


def _arguments(bench: Bench) -> dict[str, Any]:
    return {field.name: vars(bench)[field.name] for field in fields(bench)}


def _check_question(bench: Bench, question: Question) -> None:
    named = f"{bench!r}, question {question.id}"
    for image in question.images:
        expect(min(image.read().size) > 0, f"{named}: the picture {image.name} has no pixels")
    record = json.loads(json.dumps(question.record()))
    reread = Question.of_record(question.id, record)
    for name in bench.prompts:
        text = bench.prompt(question, name)
        expect(bool(text.strip()), f"{named}: the prompt {name!r} is empty")
        expect(
            text == bench.prompt(reread, name),
            f"{named}: the prompt {name!r} is another one after the question was written and read",
        )
    expect(bool(question.answers), f"{named} has no right answer")
    for reading in READINGS if not bench.judged else ():
        for reply in (*ODD_REPLIES, question.answer):
            mark = bench.mark(question, reply, reading)
            expect("right" in mark, f"{named}: mark() gives no 'right' for {reply[:40]!r}")
            expect(
                0 <= mark["right"] <= 1 or math.isnan(mark["right"]),
                f"{named}: 'right' is {mark['right']} for {reply[:40]!r}, and not from 0 to 1",
            )
            expect(
                repr(mark) == repr(bench.mark(reread, reply, reading)),
                f"{named}: {reply[:40]!r} has another mark after the question was written and read",
            )


def _check_scores(bench: Bench, questions: Sequence[Question]) -> None:
    grades = {question.id: (1.0,) for question in questions} if bench.judged else None
    replies = [question.answer for question in questions]
    for reading in READINGS:
        score = score_replies(
            bench, questions, replies, reading=reading, grades=grades, resamples=10
        )
        expect(
            bench.headline in score.values,
            f"{bench!r}: score() gives {', '.join(score.values)}, and no {bench.headline}",
        )
        value = score.values[bench.headline].value
        expect(
            math.isnan(value) or value <= bench.highest,
            f"{bench!r}: {bench.headline} is {value}, above the highest, {bench.highest}",
        )
    if not bench.judged:
        _check_weights(bench, questions, replies)


def _check_weights(bench: Bench, questions: Sequence[Question], replies: Sequence[str]) -> None:
    """A weight of 0 is a question that is not there: the bootstrap runs the same code."""
    wrong = [*replies[:-1], "zzz"]
    pairs = zip(questions, wrong, strict=True)
    sample = sample_of(questions, [bench.mark(q, reply, "official") for q, reply in pairs])
    _, unit = clusters(sample.groups.get(bench.unit, np.full(len(sample), "")))
    counted = unit != unit[0]
    if not counted.any():
        return
    marks = {name: values[counted] for name, values in sample.marks.items()}
    groups = {name: values[counted] for name, values in sample.groups.items()}
    weights = np.stack([counted, counted]).astype(float)
    weighted = bench.score(Sample(sample.marks, sample.groups, weights))
    for name, values in bench.score(Sample(marks, groups)).items():
        expected, weighted_values = float(values[0]), weighted.get(name, values)
        expect(
            len(weighted_values) == 2,
            f"{bench!r}: {name} has {len(weighted_values)} values for 2 weightings",
        )
        expect(
            not np.isfinite([expected, *weighted_values]).all()
            or np.allclose(weighted_values, expected),
            f"{bench!r}: {name} is {expected} without some questions, and {weighted_values[0]} "
            "where they have no weight: score() must use sample.mean, total or share",
        )

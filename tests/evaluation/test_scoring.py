"""Bootstrap intervals, weights and paired tests, on marks that one can count by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from regiontok.evaluation.bench import Bench
from regiontok.evaluation.paired import compare_scores
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample, resampling_weights
from regiontok.evaluation.scoring import score_replies


@dataclass(frozen=True)
class Echo(Bench):
    """A reply is right if it is the answer."""

    files: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[str] = "echo"
    constants: ClassVar[tuple[str, ...]] = ("a",)
    unit: ClassVar[str] = "pair"

    def questions(self, folder):
        yield from ()

    def mark(self, question, reply, reading):
        return {"right": float(reply == question.answer)}


def pairs(count):
    return [
        Question(str(i), "?", ("ab"[i % 2],), groups={"pair": str(i // 2)}) for i in range(count)
    ]


def test_weights_are_drawn_by_cluster():
    names = np.array(["x", "x", "y", "", "y"], object)
    weights = resampling_weights(names, 50, seed=3)
    assert weights.shape == (50, 5)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    drawn = weights[:, [0, 2, 3]].sum(1)
    assert (drawn == 3).all()
    assert len({tuple(row) for row in weights.tolist()}) > 5


def test_means_totals_and_the_worst_of_a_group():
    marks = {"right": np.array([1.0, 0.0, math.nan, 1.0])}
    sample = Sample(marks, {"pair": np.array(["p", "p", "q", ""], object)})
    assert sample.total(sample["right"]).tolist() == [2]
    assert sample.share("right").tolist() == [pytest.approx(200 / 3)]
    assert sample.share("right", "pair", "p").tolist() == [50]
    assert np.isnan(sample.share("right", "pair", "q")).all()
    worst = sample.worst_of("right", "pair")
    assert worst[[0, 1, 3]].tolist() == [0, 0, 1]
    weighted = Sample(marks, sample.groups, np.array([[2.0, 0, 1, 1], [0, 1, 1, 0]]))
    assert weighted.share("right").tolist() == [100, 0]


def test_an_interval_is_as_wide_as_theory_says():
    questions = [Question(str(i), "?", ("a",)) for i in range(400)]
    replies = ["a" if i % 4 else "b" for i in range(400)]
    value = score_replies(Echo(), questions, replies).values["echo"]
    spread = 1.96 * 100 * math.sqrt(0.75 * 0.25 / 400)
    assert value.value == 75
    assert value.high - value.low == pytest.approx(2 * spread, rel=0.1)


def test_constants_stand_beside():
    score = score_replies(Echo(), pairs(10), ["b"] * 10, resamples=0)
    assert score.constants == {"a": 50}
    assert score.constant_scores["a"].keys() == score.values.keys()
    assert score.best_constant(score.headline) == 50
    assert math.isnan(score.values["echo"].low)


def test_a_difference_of_two_runs():
    questions = pairs(200)
    first = score_replies(Echo(), questions, ["a"] * 200, resamples=10)
    right = [question.answer for question in questions]
    second = score_replies(Echo(), questions[50:], right[50:], resamples=10)
    found = compare_scores(Echo(), questions, first, second)
    assert (found.questions, found.difference, found.wins, found.losses) == (150, 50, 75, 0)
    assert found.low == found.high == 50  # one of each pair is right, in every resample
    assert found.p_bootstrap < 0.01
    assert found.p_mcnemar < 1e-20
    same = compare_scores(Echo(), questions, first, first)
    assert (same.difference, same.p_bootstrap, same.p_mcnemar) == (0, 1, 1)


def test_runs_without_a_common_question_are_refused():
    questions = pairs(4)
    first = score_replies(Echo(), questions[:2], ["a"] * 2, resamples=0)
    second = score_replies(Echo(), questions[2:], ["a"] * 2, resamples=0)
    with pytest.raises(ValueError, match="no question in common"):
        compare_scores(Echo(), questions[:2], first, second)

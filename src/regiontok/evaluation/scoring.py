"""From questions and replies to scores: marks, bootstrap intervals, baselines and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.evaluation.bench import Bench, Mark, Reading
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample, resampling_weights

if TYPE_CHECKING:
    from jaxtyping import Float

RESAMPLES = 1000
_ROWS_TOGETHER = 250  # resamples of one matrix product: 10,000 questions are then 20 MB
LEVEL = 0.95


@dataclass(frozen=True)
class Value:
    """A score with its interval.

    Attributes:
        value: the score; NaN if the questions it is made of are not there.
        low, high: the middle 95 % of bootstrap resamples; NaN without any.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def report(self) -> dict[str, float]:
        """The score as JSON has it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Score:
    """The scores of one run on one benchmark.

    Attributes:
        headline: the name of the score that stands for the whole.
        values: every score by name.
        counts: questions, and those that could not be read or judged.
        constant_scores: every score of those who always reply the same, by what they say.
        baselines: scores of others who never look, by who it is; see `Bench.baselines`.
        marks: the marks of each question, for paired tests; by name `[n]`.
        ids: the ids of the questions.
    """

    headline: str
    values: Mapping[str, Value]
    counts: Mapping[str, int]
    constant_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, float]:
        """The headline of those who always reply the same, by what they say."""
        return {reply: scores[self.headline] for reply, scores in self.constant_scores.items()}

    def best_constant(self, name: str) -> float:
        """The best score of this name that one reply to every question has; NaN if there is none.

        Args:
            name: name of a score.
        """
        scores = [scores.get(name, math.nan) for scores in self.constant_scores.values()]
        return max((score for score in scores if not math.isnan(score)), default=math.nan)

    def report(self) -> dict[str, Any]:
        """The score as JSON has it."""
        return {
            "headline": self.headline,
            "scores": {name: value.report() for name, value in self.values.items()},
            "counts": dict(self.counts),
            "constants": {reply: dict(scores) for reply, scores in self.constant_scores.items()},
            "baselines": {name: dict(scores) for name, scores in self.baselines.items()},
        }


def score_replies(
    bench: Bench,
    questions: Sequence[Question],
    replies: Sequence[str],
    *,
    reading: Reading = "official",
    grades: Mapping[str, Sequence[float]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Score replies.

    Args:
        bench: the benchmark.
        questions: the questions.
        replies: one for each.
        reading: see `Bench.mark`.
        grades: for a judged benchmark, a judge's grades by question; questions without any are
            counted, and left out of means.
        resamples: resamples of the bootstrap; 0 gives no intervals.
        seed: seeds the bootstrap.
    """
    if bench.judged:
        known = grades or {}
        marks = [bench.mark_judged(question, known.get(question.id, ())) for question in questions]
    else:
        pairs = zip(questions, replies, strict=True)
        marks = [bench.mark(question, reply, reading) for question, reply in pairs]
    sample = sample_of(questions, marks)
    values = scored(bench, sample, resamples=resamples, seed=seed)
    constants = {} if bench.judged else constant_scores(bench, questions, reading, sample)
    counts = {"questions": len(questions), "empty": sum(not reply.strip() for reply in replies)}
    if bench.judged:
        counts["unjudged"] = int(np.isnan(sample["right"]).sum())
    for name in ("unread", "unscored"):
        if name in sample.marks:
            counts[name] = int(np.nansum(sample[name]))
    ids = tuple(question.id for question in questions)
    baselines = bench.baselines(questions)
    return Score(bench.headline, values, counts, constants, baselines, sample.marks, ids)


def sample_of(questions: Sequence[Question], marks: Sequence[Mark]) -> Sample:
    """The marks of questions as arrays."""
    groups = dict.fromkeys(name for question in questions for name in question.groups)
    return Sample(
        marks_as_arrays(marks),
        {
            name: np.array([question.groups.get(name, "") for question in questions], object)
            for name in groups
        },
    )


def marks_as_arrays(marks: Sequence[Mark]) -> dict[str, Float[np.ndarray, "n"]]:
    """The marks of questions by name, NaN where a question has no such mark."""
    names = dict.fromkeys(name for mark in marks for name in mark) or {"right": None}
    return {name: np.array([mark.get(name, math.nan) for mark in marks], float) for name in names}


def scored(bench: Bench, sample: Sample, *, resamples: int, seed: int) -> dict[str, Value]:
    """Every score with its interval."""
    points = bench.score(sample)
    drawn = resampled(bench, sample, resamples=resamples, seed=seed) if resamples else {}
    tail = 50 * (1 - LEVEL)
    values = {}
    for name, point in points.items():
        resampled_values = drawn.get(name, np.array([]))
        resampled_values = resampled_values[np.isfinite(resampled_values)]
        lower, upper = (
            np.percentile(resampled_values, [tail, 100 - tail])
            if len(resampled_values)
            else (math.nan, math.nan)
        )
        values[name] = Value(float(point[0]), float(lower), float(upper))
    return values


def resampled(
    bench: Bench, sample: Sample, *, resamples: int, seed: int
) -> dict[str, Float[np.ndarray, "r"]]:
    """Every score of every bootstrap resample."""
    names = sample.groups.get(bench.unit, np.full(len(sample), ""))
    drawn: dict[str, list[np.ndarray]] = {}
    for start in range(0, resamples, _ROWS_TOGETHER):
        rows = min(_ROWS_TOGETHER, resamples - start)
        weights = resampling_weights(names, rows, seed + start)
        for name, values in bench.score(sample.weighted(weights)).items():
            drawn.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in drawn.items()}


def constant_scores(
    bench: Bench, questions: Sequence[Question], reading: Reading, sample: Sample
) -> dict[str, dict[str, float]]:
    """Every score of those who always reply the same, by what they say.

    Args:
        bench, questions, reading: see `score_replies`.
        sample: a sample of the same questions, whose groups are taken over.
    """
    scores = {}
    for reply in bench.constants:
        marks = [bench.mark(question, reply, reading) for question in questions]
        constant_sample = Sample(marks_as_arrays(marks), sample.groups)
        values = bench.score(constant_sample)
        scores[reply] = {name: float(value[0]) for name, value in values.items()}
    return scores

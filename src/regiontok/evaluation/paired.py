"""Two runs on the same questions: the difference of their scores, and whether it may be chance.

After: Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (paired bootstrap); McNemar,
Psychometrika 12, 1947, in its exact form.
Differs: nothing known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from regiontok.evaluation.bench import Bench
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.scoring import LEVEL, RESAMPLES, Score, resampled


@dataclass(frozen=True)
class Difference:
    """How far a second run lies above a first one on the questions that both answered.

    Attributes:
        questions: how many these are.
        difference: the second headline less the first.
        low, high: the middle 95 % of the differences of bootstrap resamples.
        p_bootstrap: two-sided, by the share of resamples on the other side of zero.
        wins, losses: questions that only the second, or only the first, has right.
        p_mcnemar: two-sided, exact; NaN where marks are not just right and wrong.
    """

    questions: int
    difference: float
    low: float
    high: float
    p_bootstrap: float
    wins: int
    losses: int
    p_mcnemar: float

    def report(self) -> dict[str, Any]:
        """The difference as JSON has it."""
        return asdict(self)


def compare_scores(
    bench: Bench,
    questions: Sequence[Question],
    first: Score,
    second: Score,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The paired test of two runs.

    Args:
        bench: the benchmark.
        questions: the questions of the first run, in the order of its marks.
        first, second: the scores; only questions of both count.
        resamples, seed: of the bootstrap; both runs have the same resamples.

    Raises:
        ValueError: If they have no question in common.
    """
    place = {id: index for index, id in enumerate(second.ids)}
    shared = [index for index, id in enumerate(first.ids) if id in place]
    if not shared:
        raise ValueError("the two runs have no question in common: nothing can be paired")
    there = [place[first.ids[index]] for index in shared]
    groups = {
        name: np.array([questions[index].groups.get(name, "") for index in shared], object)
        for name in dict.fromkeys(name for question in questions for name in question.groups)
    }
    names = [name for name in first.marks if name in second.marks]
    samples = [
        Sample({name: score.marks[name][rows] for name in names}, groups)
        for score, rows in ((first, shared), (second, there))
    ]
    points = [float(bench.score(sample)[bench.headline][0]) for sample in samples]
    drawn = [
        resampled(bench, sample, resamples=resamples, seed=seed)[bench.headline]
        for sample in samples
    ]
    differences = drawn[1] - drawn[0]
    differences = differences[np.isfinite(differences)]
    tail = 50 * (1 - LEVEL)
    ends = np.percentile(differences, [tail, 100 - tail]) if len(differences) else (math.nan,) * 2
    wins, losses, p_mcnemar = _mcnemar(samples[0]["right"], samples[1]["right"])
    return Difference(
        questions=len(shared),
        difference=points[1] - points[0],
        low=float(ends[0]),
        high=float(ends[1]),
        p_bootstrap=_two_sided(differences),
        wins=wins,
        losses=losses,
        p_mcnemar=p_mcnemar,
    )


def _two_sided(differences: np.ndarray) -> float:
    count = len(differences)
    if not count:
        return math.nan
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (count + 1))


def _mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    wins, losses = int((second > first).sum()), int((second < first).sum())
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        return wins, losses, math.nan
    if not wins + losses:
        return 0, 0, 1.0
    return wins, losses, float(binomtest(wins, wins + losses).pvalue)

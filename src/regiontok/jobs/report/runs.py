"""Runs that were scored, with what they cost, and which of them may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.evaluation.answers import AnswerRun, read_answers
from regiontok.evaluation.bench import Bench, Reading
from regiontok.evaluation.cost import Cost
from regiontok.evaluation.judge import GRADES, read_grades
from regiontok.evaluation.paired import Difference, compare_scores
from regiontok.evaluation.scoring import RESAMPLES, Score, score_replies
from regiontok.settings import registry
from regiontok.system.errors import RegiontokError

# what of two heads must be the same for their scores to be compared
COMPARED = ("bench", "bench_version", "prompt", "decoding")
# what of two heads must be the same for one to be the other's blind baseline
SAME_MODEL = ("model", "revision", "regions", "segmenter", "template", "as_trained", "changes")


class NotComparable(RegiontokError, ValueError):
    """Runs whose scores mean different things; the message says in what they differ."""


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """The answers of a run with their scores.

    Attributes:
        run: the answers.
        bench: the benchmark.
        reading: how replies were read.
        score: the scores.
        cost: what the answers took.
    """

    run: AnswerRun
    bench: Bench
    reading: Reading
    score: Score
    cost: Cost

    @property
    def headline(self) -> float:
        """The score that stands for the whole benchmark."""
        return self.score.values[self.score.headline].value

    @property
    def counts(self) -> dict[str, int]:
        """Questions, and what became of those that have no score."""
        run = self.run
        expected = int(run.head.get("questions", len(run.answers)))
        return {
            **self.score.counts,
            "missing": max(0, expected - len(run.answers)),
            "failed": len(run.failed),
            "set_aside": sum(run.head.get("set_aside", {}).values()),
            "damaged_lines": run.damaged,
            "repeated": run.repeated,
        }

    def report(self) -> dict[str, Any]:
        """The run as JSON has it."""
        head = self.run.head
        return {
            "run": str(self.run.path),
            "name": self.run.name,
            "bench": head["bench"],
            "reading": self.reading,
            "model": head["model"],
            "blind": head["blind"],
            "prompt": head["prompt"],
            "decoding": head["decoding"],
            **self.score.report(),
            "counts": self.counts,
            **self.cost.report(),
        }


def score_run(
    path: Path, *, reading: Reading = "official", resamples: int = RESAMPLES, seed: int = 0
) -> ScoredRun:
    """Score the answers of a run.

    Args:
        path: its folder, or one file.
        reading: how replies are read.
        resamples, seed: of the bootstrap.

    Raises:
        AnswersError: If there are no answers, or they cannot be read.
        SpecError: If the bench is not known here.
        JudgeError: If the grades beside the answers cannot be read.
    """
    run = read_answers(path)
    bench: Bench = registry.build("bench", str(run.head["bench"]))
    grades_file = (path if path.is_dir() else path.parent) / GRADES
    grades = read_grades(grades_file) if bench.judged and grades_file.is_file() else None
    score = score_replies(
        bench,
        [answer.question for answer in run.replied],
        [answer.reply for answer in run.replied],
        reading=reading,
        grades=grades,
        resamples=resamples,
        seed=seed,
    )
    return ScoredRun(run, bench, reading, score, Cost.of(run.replied))


def check_comparable(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs on one benchmark whose prompts or decoding differ.

    Raises:
        NotComparable: If two do; both are named, and what they differ in.
    """
    first_of: dict[str, ScoredRun] = {}
    for scored in runs:
        name = registry.name_of(scored.bench)
        first = first_of.setdefault(name, scored)
        for key in COMPARED:
            there, here = first.run.head.get(key), scored.run.head.get(key)
            if there != here:
                raise NotComparable(
                    f"{first.run.path} and {scored.run.path} cannot be compared: {key} is "
                    f"{there!r} and {here!r}; answer again, or say --anyway"
                )


def paired(first: ScoredRun, second: ScoredRun, *, resamples: int = RESAMPLES) -> Difference:
    """The paired test of two runs on one benchmark.

    Raises:
        ValueError: If they have no question in common.
    """
    questions = [answer.question for answer in first.run.replied]
    return compare_scores(first.bench, questions, first.score, second.score, resamples=resamples)


def blind_baseline(scored: ScoredRun, runs: Sequence[ScoredRun]) -> ScoredRun | None:
    """The run of the same model on the same benchmark that saw no pictures; None if none is."""
    if scored.run.head.get("blind"):
        return None
    identity = _identity(scored.run.head)
    return next(
        (
            other
            for other in runs
            if other.run.head.get("blind") and _identity(other.run.head) == identity
        ),
        None,
    )


def _identity(head: Mapping[str, Any]) -> list[Any]:
    return [head.get(name) for name in (*SAME_MODEL, *COMPARED)]

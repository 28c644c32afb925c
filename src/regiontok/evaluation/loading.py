"""The questions of a benchmark's folder, with those that cannot be asked set aside and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from regiontok.evaluation.bench import Bench
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.tables import BenchDataError


@dataclass(frozen=True)
class SetAside:
    """A question that cannot be asked.

    Attributes:
        id: its id.
        reason: why.
        kind: "duplicate" or "picture".
    """

    id: str
    reason: str
    kind: str


@dataclass(frozen=True, eq=False)
class LoadedQuestions:
    """What a benchmark's folder holds.

    Attributes:
        questions: those that can be asked, in the order of the files.
        set_aside: those that cannot.
    """

    questions: tuple[Question, ...]
    set_aside: tuple[SetAside, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many questions were set aside, by kind."""
        return dict(Counter(aside.kind for aside in self.set_aside))


def load_questions(
    bench: Bench, folder: BenchFolder | None, *, limit: int = 0, blind: bool = False
) -> LoadedQuestions:
    """Read a benchmark's questions.

    Args:
        bench: the benchmark.
        folder: where its files lie; None where the bench makes its questions.
        limit: number of questions at most; 0 takes all. Those that stand together in the bench's
            `unit` stay together.
        blind: leave all pictures out, and need none of them.

    Raises:
        BenchDataError: If the files are not there, are of another version, or no question of
            theirs can be asked.
    """
    by_id: dict[str, Question] = {}
    aside: list[SetAside] = []
    questions = bench.made_questions() if folder is None else bench.questions(folder)
    for question in questions:
        if limit and len(by_id) >= limit and not _same_unit(bench, question, by_id):
            break
        if blind:
            question = replace(question, images=())
        problem = _problem(question)
        if question.id in by_id:
            reason = "an earlier question has the same id"
            aside.append(SetAside(question.id, reason, "duplicate"))
        elif problem:
            aside.append(SetAside(question.id, problem, "picture"))
        else:
            by_id[question.id] = question
    if not by_id:
        reason = f"; the first: {aside[0].reason}" if aside else ""
        source = folder.path if folder else type(bench).__name__.lower()
        raise BenchDataError(
            f"no question of {source} can be asked, {len(aside)} were set aside{reason}"
        )
    return LoadedQuestions(tuple(by_id.values()), tuple(aside))


def _problem(question: Question) -> str:
    return next((image.problem for image in question.images if image.problem), "")


def _same_unit(bench: Bench, question: Question, by_id: dict[str, Question]) -> bool:
    """True if a question belongs together with the last one that was kept."""
    last = next(reversed(by_id.values()))
    unit = question.groups.get(bench.unit, "")
    return bool(unit) and unit == last.groups.get(bench.unit)

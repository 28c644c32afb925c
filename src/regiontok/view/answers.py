"""Runs of `regiontok answer` as the page gets them: each answer, whether it is right, its picture.

Pictures are no part of answer files: they are found in the benchmark's folder, if that is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.picture import Picture
from regiontok.evaluation.answers import Answer, read_answers
from regiontok.evaluation.bench import Bench
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.tables import BenchDataError
from regiontok.settings import registry
from regiontok.system.printable import printable


class AnswerPages:
    """Answer runs, and the pictures of their questions.

    Args:
        data: folders of benchmarks, in which the pictures are looked for.
    """

    def __init__(self, data: tuple[Path, ...] = ()) -> None:
        self._data = data
        self._questions: dict[Path, dict[str, Question]] = {}

    def overview(self, path: Path) -> dict[str, Any]:
        """A run's head, and every answer of it.

        Args:
            path: the run's folder, or its one file.

        Raises:
            AnswersError: If there are no answers, or they cannot be read.
            SpecError: If its benchmark is not known here.
        """
        run = read_answers(path)
        bench: Bench = registry.build("bench", str(run.head["bench"]))
        questions = self._questions_of(path, bench)
        head = {name: run.head.get(name) for name in ("bench", "model", "regions", "prompt")}
        rows = [answer_row(bench, answer, questions) for answer in run.answers]
        return {
            "head": {name: str(value or "") for name, value in head.items()},
            "run": printable(run.name),
            "damaged": run.damaged,
            "answers": rows,
        }

    def picture(self, path: Path, number: int) -> Picture:
        """The first picture of an answer's question.

        Raises:
            KeyError: If there is no such answer, or its picture is not known.
            ValueError: If it cannot be read.
        """
        run = read_answers(path)
        if not 0 <= number < len(run.answers):
            raise KeyError(number)
        bench: Bench = registry.build("bench", str(run.head["bench"]))
        question = self._questions_of(path, bench)[run.answers[number].question.id]
        return question.images[0].read()

    def _questions_of(self, path: Path, bench: Bench) -> dict[str, Question]:
        """The questions of a run's benchmark by id, from the first folder that has its files.

        A benchmark that makes its questions needs none.
        """
        if path not in self._questions:
            self._questions[path] = {}
            sources: list[Callable[[], Iterator[Question]]] = [
                *(partial(bench.questions, BenchFolder(folder)) for folder in self._data),
                bench.made_questions,
            ]
            for questions in sources:
                try:
                    asked = {one.id: one for one in questions()}
                except BenchDataError:
                    continue
                self._questions[path] = {id: one for id, one in asked.items() if one.images}
                break
        return self._questions[path]


def answer_row(bench: Bench, answer: Answer, questions: dict[str, Question]) -> dict[str, Any]:
    """One answer: question, reply, what was expected, and how much of it is right.

    "right" is None where there is no reply, or where a judge is needed.
    """
    question = answer.question
    right = None
    if not answer.error and not bench.judged:
        mark = bench.mark(question, answer.reply, "official").get("right", math.nan)
        right = None if math.isnan(mark) else float(mark)
    return {
        "id": printable(question.id),
        "question": question.text,
        "options": list(question.options),
        "expected": list(question.answers),
        "reply": answer.reply,
        "error": answer.error,
        "right": right,
        "parts": dict(question.groups),
        "tokens": list(answer.visual_tokens),
        "prompt": answer.prompt,
        "pictured": question.id in questions,
    }

"""Runs of `regiontok answer` as the page gets them: each answer, whether it is right, its picture.

Pictures are no part of answer files: they are found in the benchmark's folder, if that is named.
What the words of an answer looked at is, if `answer --attention` kept it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.picture import Picture
from regiontok.evaluation.answers import Answer, AnswerRun, answer_files, read_answers
from regiontok.evaluation.bench import Bench
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.tables import BenchDataError
from regiontok.jobs.answer.attention_files import AttentionRun, attention_files, read_attention
from regiontok.settings import registry
from regiontok.system.printable import printable
from regiontok.view.attention_data import attention_data
from regiontok.view.roots import Roots


@dataclass(frozen=True, eq=False)
class _Read:
    """A run as it was read, and the sizes and times of its files then."""

    state: list[tuple[str, int, int]]
    run: AnswerRun
    attention: AttentionRun


class AnswerPages:
    """Answer runs, and the pictures of their questions.

    Args:
        roots: what may be opened of a run's folder.
        data: folders of benchmarks, in which the pictures are looked for.
    """

    def __init__(self, roots: Roots, data: tuple[Path, ...] = ()) -> None:
        self._roots, self._data = roots, data
        self._questions: dict[Path, dict[str, Question]] = {}
        self._read: dict[Path, _Read] = {}
        self._lock = threading.Lock()

    def overview(self, path: Path) -> dict[str, Any]:
        """A run's head, and every answer of it.

        Args:
            path: the run's folder, or its one file.

        Raises:
            AnswersError: If there are no answers, or they cannot be read.
            SpecError: If its benchmark is not known here.
        """
        read = self._files(path)
        run = read.run
        bench: Bench = registry.build("bench", str(run.head["bench"]))
        questions = self._questions_of(path, bench)
        head = {name: run.head.get(name) for name in ("bench", "model", "regions", "prompt")}
        rows = [
            answer_row(bench, answer, questions)
            | {"attended": answer.question.id in read.attention}
            for answer in run.answers
        ]
        return {
            "head": {name: str(value or "") for name, value in head.items()},
            "run": printable(run.name),
            "damaged": run.damaged,
            "answers": rows,
        }

    def picture(self, path: Path, number: int, place: int = 0) -> Picture:
        """A picture of an answer's question.

        Args:
            path: the run's folder, or its one file.
            number: the answer.
            place: which of its pictures.

        Raises:
            KeyError: If there is no such answer, or its picture is not known.
            ValueError: If it cannot be read.
        """
        run = self._files(path).run
        bench: Bench = registry.build("bench", str(run.head["bench"]))
        images = self._questions_of(path, bench)[self._answer(run, number).question.id].images
        if not 0 <= place < len(images):
            raise KeyError(place)
        return images[place].read()

    def attention(self, path: Path, number: int) -> dict[str, Any]:
        """What the words of an answer looked at; see `attention_data`.

        Raises:
            KeyError: If there is no such answer, or nothing was kept of it.
            AnswersError: If what was kept is damaged.
        """
        read = self._files(path)
        return attention_data(read.attention.of(self._answer(read.run, number).question.id))

    def _answer(self, run: AnswerRun, number: int) -> Answer:
        if not 0 <= number < len(run.answers):
            raise KeyError(number)
        return run.answers[number]

    def _files(self, path: Path) -> _Read:
        """A run as its files are now; it is read again when they have changed."""
        kept = attention_files(path) if path.is_dir() else []
        files = [self._roots.check(file) for file in (*answer_files(path), *kept)]
        stats = [(file.name, file.stat()) for file in files]
        state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        with self._lock:
            if path not in self._read or self._read[path].state != state:
                attention = read_attention(path) if kept else AttentionRun()
                self._read[path] = _Read(state, read_answers(path), attention)
            return self._read[path]

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

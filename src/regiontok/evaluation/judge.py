"""A judge behind an OpenAI-compatible address: asked over plain HTTP, again where that fails.

Grades are kept in MM-Vet's official form, so that published grade files are read, too.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from regiontok.evaluation.bench import Bench
from regiontok.evaluation.question import Question
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.files import replacing
from regiontok.system.strict_json import parse_json

GRADES = "grades.json"
OFFICIAL_ANSWERS = "official_answers.json"
_NUMBER = re.compile(r"(?<![\d.])(?:0(?:\.\d+)?|1(?:\.0+)?)(?![\d.])")
_WAITS = (1.0, 4.0, 15.0)  # seconds before each further try


class JudgeError(RegiontokError, RuntimeError):
    """A judge could not be asked; the message says where and why."""


@dataclass(frozen=True)
class Judge:
    """A language model that grades replies.

    Attributes:
        address: the server's base address, say "http://localhost:8000/v1".
        model: name of the model there.
        key: what the server wants as a key; "" sends none.
        times: how often each reply is graded.
        timeout: seconds to wait for an answer.
        wait: waits that many seconds.
    """

    address: str
    model: str
    key: str = field(default="", repr=False)
    times: int = 1
    timeout: float = 120.0
    wait: Callable[[float], None] = time.sleep

    def grade(self, prompt: str) -> float | None:
        """A grade from 0 to 1; None if the judge's words hold none.

        Raises:
            JudgeError: If it cannot be asked, after all tries.
        """
        return read_grade(self.ask(prompt))

    def ask(self, prompt: str) -> str:
        """The judge's words.

        Raises:
            JudgeError: If it cannot be asked, after all tries.
        """
        reason = ""
        for wait in (*_WAITS, None):
            try:
                return self._ask_once(prompt)
            except urllib.error.HTTPError as error:
                reason = f"{error.code} {error.reason}"
                if error.code < 500 and error.code not in (408, 409, 429):
                    break
            except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
                reason = first_line(error)
            if wait is not None:
                self.wait(wait)
        raise JudgeError(f"the judge {self.model} at {self.address} cannot be asked: {reason}")

    def _ask_once(self, prompt: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0,
            "max_tokens": 16,
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if not self.address.startswith(("http://", "https://")):
            raise JudgeError(f"a judge's address begins with http:// or https://: {self.address}")
        request = urllib.request.Request(
            f"{self.address.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            content = json.load(response)["choices"][0]["message"]["content"]
        return str(content)


def write_official_answers(path: Path, pairs: Sequence[tuple[Question, str]]) -> None:
    """Write replies as MM-Vet's own evaluator takes them: an object of replies by their ids."""
    replies = {question.id: reply for question, reply in pairs}
    with replacing(path) as temporary:
        text = json.dumps(replies, ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_grade(text: str) -> float | None:
    """The first number from 0 to 1 in a judge's words; None if there is none.

    >>> read_grade("Grade: 0.7"), read_grade("1.0"), read_grade("10 of 12")
    (0.7, 1.0, None)
    """
    match = _NUMBER.search(text)
    return float(match[0]) if match else None


@dataclass
class Judged:
    """What a judge made of a run.

    Attributes:
        grades: the grades of each question.
        unjudged: questions without any, with the reason.
    """

    grades: dict[str, list[float]] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)


def judge_replies(
    bench: Bench,
    pairs: Sequence[tuple[Question, str]],
    judge: Judge,
    path: Path,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Judged:
    """Grade replies, and keep the grades; those that are there already are not asked for again.

    A judge that cannot be asked for three questions in a row is given up.

    Args:
        bench: the benchmark.
        pairs: questions and replies.
        judge: the judge.
        path: where the grades are kept.
        tick: called with each question.
    """
    judged = Judged(read_grades(path) if path.exists() else {})
    failures = 0
    for question, reply in pairs:
        known = judged.grades.get(question.id, [])
        count = len(known)
        try:
            while len(known) < judge.times and failures < 3:
                grade = judge.grade(bench.judge_prompt(question, reply))
                failures = 0
                if grade is None:
                    judged.unjudged[question.id] = "the judge gave no number from 0 to 1"
                    break
                known = judged.grades.setdefault(question.id, [])
                known.append(grade)
        except JudgeError as error:
            failures += 1
            judged.unjudged[question.id] = str(error)
        if not known:
            judged.unjudged.setdefault(question.id, "the judge could not be asked")
        if len(known) > count:  # a stopped run loses none
            write_grades(path, judged.grades, judge.model)
        tick()
    return judged


def read_grades(path: Path) -> dict[str, list[float]]:
    """The grades of a file in the official form: id -> {"score": [grade, ...]}.

    Raises:
        JudgeError: If it is no such file.
    """
    try:
        content: Mapping[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        return {id: [float(grade) for grade in entry["score"]] for id, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JudgeError(
            f"{path} is no file of grades ({first_line(error)}): expected "
            '{"ID": {"score": [0.5]}, ...}'
        ) from None


def write_grades(path: Path, grades: Mapping[str, Sequence[float]], model: str) -> None:
    """Write grades in the official form."""
    content = {
        id: {
            "model": [model] * len(scores),
            "content": [str(score) for score in scores],
            "score": list(scores),
        }
        for id, scores in grades.items()
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

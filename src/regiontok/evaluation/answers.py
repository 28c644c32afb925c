"""Answer files: JSON lines, the first of which says how the answers came about.

A run's folder holds `answers.jsonl`, and `answers.1.jsonl`, ... of further processes. Every line
holds its question, without pictures, so that scores are recomputed from these files alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regiontok.evaluation.question import Question
from regiontok.system.errors import RegiontokError
from regiontok.system.files import cut_after_last_line, flush_entry, replacing
from regiontok.system.strict_json import parse_json, strict_json
from regiontok.system.writing import clear_write_errors

if TYPE_CHECKING:
    from regiontok.core.frame import Pair

FORMAT = "regiontok answers 1"
# what of a head tells of one start alone: runs that differ in it are the same run
INCIDENTAL = ("started", "versions", "device", "batch", "processes")


class AnswersError(RegiontokError, ValueError):
    """Answer files cannot be read, or belong to another run; the message says which and why."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one question.

    Attributes:
        question: the question, without its pictures.
        reply: what the model said.
        prompt: how it was asked.
        visual_tokens: the number of visual tokens of each picture.
        resolutions: of each picture, (height, width) in pixels of every view that the encoder saw;
            () where that was not noted.
        seconds: its share of the time of its batch.
        error: why there is no reply; "" if there is one.
    """

    question: Question
    reply: str = ""
    prompt: str = ""
    visual_tokens: tuple[int, ...] = ()
    resolutions: tuple[tuple[Pair, ...], ...] = ()
    seconds: float = 0.0
    error: str = ""

    def line(self) -> str:
        """The answer as a line of its file."""
        record: dict[str, Any] = {"id": self.question.id}
        if self.error:
            record["error"] = self.error
        else:
            record["reply"] = self.reply
        record |= {
            "prompt": self.prompt,
            "visual_tokens": list(self.visual_tokens),
            "resolutions": self.resolutions,
            "seconds": round(self.seconds, 5),
            "question": self.question.record(),
        }
        return strict_json(record, ensure_ascii=False)

    @classmethod
    def of_line(cls, line: str) -> Answer:
        """The answer that `line` wrote.

        Raises:
            ValueError, KeyError, TypeError: If it is no such line.
        """
        record = parse_json(line)
        return cls(
            question=Question.of_record(str(record["id"]), record["question"]),
            reply=str(record.get("reply", "")),
            prompt=str(record.get("prompt", "")),
            visual_tokens=tuple(map(int, record.get("visual_tokens", ()))),
            resolutions=tuple(
                tuple((int(height), int(width)) for height, width in views)
                for views in record.get("resolutions", ())
            ),
            seconds=float(record.get("seconds", 0.0)),
            error=str(record.get("error", "")),
        )


@dataclass(frozen=True, eq=False)
class AnswerRun:
    """All answers of a run.

    Attributes:
        path: its folder, or its one file.
        head: how they came about.
        answers: the answers, each question once, in the order in which they were written.
        damaged: lines that cannot be read, those that a kill cut off among them.
        repeated: further answers to a question; the last one counts.
    """

    path: Path
    head: Mapping[str, Any]
    answers: tuple[Answer, ...]
    damaged: int = 0
    repeated: int = 0

    @property
    def replied(self) -> list[Answer]:
        """The answers that have a reply."""
        return [answer for answer in self.answers if not answer.error]

    @property
    def failed(self) -> list[Answer]:
        """The answers that have none."""
        return [answer for answer in self.answers if answer.error]

    @property
    def name(self) -> str:
        """What tables call the run: the name in its head, or that of its folder."""
        return str(self.head.get("name") or self.path.name)


def answer_files(path: Path) -> list[Path]:
    """The answer files of a run's folder, or the one file.

    Raises:
        AnswersError: If there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("answers*.jsonl"))
    if not files:
        raise AnswersError(f"{path} holds no answers.jsonl: give a folder of `regiontok answer`")
    return files


def read_answers(path: Path) -> AnswerRun:
    """Read a run's answers.

    Args:
        path: its folder, or one file.

    Raises:
        AnswersError: If there are none, a file has no head, or two files have different ones.
    """
    head: dict[str, Any] = {}
    answers: dict[str, Answer] = {}
    damaged = repeated = 0
    for file in answer_files(path):
        own_head, lines = _head_and_lines(file)
        if head and (difference := first_difference(head, own_head)):
            raise AnswersError(f"{file} belongs to another run than its neighbours: {difference}")
        head = head or own_head
        for line in lines:
            try:
                answer = Answer.of_line(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                damaged += 1
                continue
            repeated += answer.question.id in answers
            if not answer.error or answer.question.id not in answers:
                answers[answer.question.id] = answer
    return AnswerRun(path, head, tuple(answers.values()), damaged, repeated)


def _head_and_lines(path: Path) -> tuple[dict[str, Any], list[str]]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    try:
        head = parse_json(lines[0])["head"]
        known = head["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise AnswersError(f"{path} is no answer file: its first line must be a head of {FORMAT!r}")
    return head, [line for line in lines[1:] if line.strip()]


def first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first setting in which two heads differ, in words; "" if they are of the same run.

    >>> first_difference({"prompt": "study", "batch": 1}, {"prompt": "bare", "batch": 2})
    "prompt is 'study' there and 'bare' here"
    """
    for name in dict.fromkeys([*first, *second]):
        if name not in INCIDENTAL and first.get(name) != second.get(name):
            return f"{name} is {first.get(name)!r} there and {second.get(name)!r} here"
    return ""


@dataclass
class AnswerWriter:
    """Writes the answers of one process, line by line.

    Attributes:
        folder: the run's folder.
        head: how the answers come about.
        rank: number of this process.
    """

    folder: Path
    head: Mapping[str, Any]
    rank: int = 0

    @property
    def path(self) -> Path:
        """The file of this process."""
        return self.folder / (f"answers.{self.rank}.jsonl" if self.rank else "answers.jsonl")

    def begin(self, *, resume: bool) -> set[str]:
        """Begin the file, or go on with it; what a kill cut off is taken away.

        Returns:
            The ids of the questions that are answered already, by any process.

        Raises:
            AnswersError: If the folder holds answers and `resume` is not set, or those of a run
                with other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        existing = sorted(self.folder.glob("answers*.jsonl"))
        if existing and not resume and not self.rank:
            raise AnswersError(
                f"{self.folder} holds answers already: go on with --resume, or choose another --out"
            )
        done: set[str] = set()
        for file in existing:
            head, _ = _head_and_lines(file)
            if difference := first_difference(head, self.head):
                raise AnswersError(
                    f"{self.folder} was begun with other settings: {difference}; choose another "
                    "--out"
                )
        if existing:
            run = read_answers(self.folder)
            done = {answer.question.id for answer in run.replied}
        if self.path.exists():
            cut_after_last_line(self.path)
        else:
            with clear_write_errors(self.path), replacing(self.path) as temporary:
                head_line = strict_json({"head": dict(self.head)}, ensure_ascii=False)
                temporary.write_text(head_line + "\n", encoding="utf-8")
        return done

    def write(self, answers: Sequence[Answer]) -> None:
        """Add answers; they are handed to the system before this returns."""
        with clear_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(answer.line() + "\n" for answer in answers))

    def end(self) -> None:
        """Wait until all answers are on the disk."""
        flush_entry(self.path)

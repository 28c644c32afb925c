"""MMBench: choices about everything, asked once, or in every rotation of their options.

After: Liu et al., MMBench: Is Your Multi-modal Model an All-around Player?, ECCV 2024; how a letter
is read officially is `can_infer` of VLMEvalKit at commit e8e78f0.
Differs: a reply that no rule reads is wrong; the official server then asks a language model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.images import QuestionImage
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.tables import Row

ROTATION = 1_000_000  # what the index of each further rotation of a question is raised by
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_STATED = re.compile(r"\banswer is[\s:*(]*([A-Z])\b")


@dataclass(frozen=True)
class Mmbench(Bench):
    """MMBench as its TSV files have it.

    Attributes:
        circular: also ask the rotations of questions of which the files have only the first.
    """

    circular: bool = False
    files: ClassVar[tuple[str, ...]] = ("*mmbench*.tsv", "*MMBench*.tsv", "*.parquet", "*.json")
    headline: ClassVar[str] = "mmbench"
    prompts: ClassVar[Mapping[str, Prompt]] = CHOICE_PROMPTS
    constants: ClassVar[tuple[str, ...]] = ("A", "B", "C", "D")
    unit: ClassVar[str] = "rotations"

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            rows = folder.rows(path, ["index", "question", "answer"])
            by_index = {str(row["index"]): row for row in rows}
            for row in rows:
                question = self._question(folder, row, by_index)
                yield question
                has_rotations = str(int(question.id) % ROTATION + ROTATION) in by_index
                if self.circular and not has_rotations:
                    yield from _rotations(question)

    def _question(self, folder: BenchFolder, row: Row, by_index: Mapping[str, Row]) -> Question:
        index = int(row["index"])
        options_cell = row.get("options")
        listed = options_cell if isinstance(options_cell, Mapping) else row
        options = [str(listed[letter]) for letter in "ABCDEFGH" if _is_there(listed.get(letter))]
        return Question(
            id=str(index),
            text=str(row["question"]),
            answers=(str(row["answer"]).strip(),),
            images=(_picture(folder, row, by_index),),
            options=tuple(options),
            hint=str(row["hint"]) if _is_there(row.get("hint")) else "",
            groups={
                "rotations": str(index % ROTATION),
                "part": str(row.get("l2-category") or row.get("l2_category") or ""),
                "category": str(row.get("category") or ""),
            },
        )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        read = official if reading == "official" else letter_of
        letter = read(reply, question.options)
        is_first = int(question.id) < ROTATION
        return {
            "right": float(letter == question.answer),
            "unread": float(not letter),
            "first": float(is_first),
        }

    def score(self, sample: Sample) -> dict[str, Any]:
        """Plain: the first rotation alone. Circular: every rotation of a question must be right."""
        is_first = sample["first"] == 1
        every, once = sample.worst_of("right", "rotations"), sample.first_of("rotations")
        has_rotations = bool((~is_first).any())
        nothing = sample.total(sample["right"]) * float("nan")
        circular = 100 * sample.mean(every, once) if has_rotations else nothing
        plain = 100 * sample.mean(sample["right"], is_first)
        by_part = {
            f"mmbench_{_slug(part)}": 100
            * sample.mean(sample["right"], is_first & sample.members("part", part))
            for part in sample.values("part")
        }
        return {"mmbench": plain, "mmbench_circular": circular, **by_part}


def official(reply: str, options: Sequence[str]) -> str:
    """The letter that VLMEvalKit reads; "" if it reads none, or finds a refusal.

    >>> official("C. Fishing", ["Swimming", "Running", "Fishing"]), official("A and B", ["x", "y"])
    ('C', '')
    """
    if any(refusal in reply for refusal in _REFUSALS):
        return ""
    letters = ascii_uppercase[: len(options)]
    words = set(re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split())
    said_letters = [letter for letter in letters if letter in words]
    if len(said_letters) == 1:
        return said_letters[0]
    if said_letters and (stated := _STATED.search(reply)) and stated[1] in letters:
        return stated[1]
    said = reply.lower()
    if len(said) > 2 * sum(map(len, options)):
        return ""
    held = [letter for letter, text in zip(letters, options, strict=True) if text.lower() in said]
    return held[0] if len(held) == 1 else ""


def _is_there(value: Any) -> bool:
    """False for a cell that is empty, or that pandas wrote for nothing."""
    return value is not None and str(value).strip() not in ("", "nan", "None")


def _picture(folder: BenchFolder, row: Row, by_index: Mapping[str, Row]) -> QuestionImage:
    """A row's picture; a number in its place is the index of the row that has it."""
    for _ in range(2):
        cell = row.get("image")
        if not isinstance(cell, str | int) or str(cell) not in by_index:
            break
        row = by_index[str(cell)]
    return folder.picture(row, "image", "image_path")


def _rotations(question: Question) -> Iterator[Question]:
    """The other rotations: each moves every option, and the right letter, one place on."""
    count = len(question.options)
    answer = ascii_uppercase.index(question.answer)
    for turn in range(1, count):
        options = question.options[-turn:] + question.options[:-turn]
        yield Question(
            id=str(int(question.id) + turn * ROTATION),
            text=question.text,
            answers=(ascii_uppercase[(answer + turn) % count],),
            images=question.images,
            options=options,
            hint=question.hint,
            groups=question.groups,
        )


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower()).strip("_")

"""RealWorldQA: short questions and choices about photos from cars and streets.

After: xAI, RealWorldQA, 2024, as lmms-eval scores it: the reply is the answer, but for case and a
full stop.
Differs: nothing known. The robust reading takes any form of a letter, and number words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import CHOICE, SHORT, short_answer
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.words import normalised

_INSTRUCTION = re.compile(r"\s*Please answer directly with (?:only )?.*$", re.DOTALL)
_OPTION = re.compile(r"^([A-Z])\.\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Realworldqa(Bench):
    """765 questions; they hold their own options and instructions."""

    files: ClassVar[tuple[str, ...]] = ("*.parquet", "*realworldqa*.json*", "RealWorldQA*.tsv")
    headline: ClassVar[str] = "realworldqa"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "study": lambda question: short_answer(
            _INSTRUCTION.sub("", question.text), ending=CHOICE if question.options else SHORT
        ),
        "bare": lambda question: question.text.strip(),
    }
    constants: ClassVar[tuple[str, ...]] = ("A", "B", "Yes", "No")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        number = 0
        for path in folder.files(self.files):
            for row in folder.rows(path, ["image", "question", "answer"]):
                text = str(row["question"])
                yield Question(
                    id=str(number),
                    text=text,
                    answers=(str(row["answer"]),),
                    images=(folder.picture(row, "image"),),
                    options=tuple(option for _, option in _OPTION.findall(text)),
                )
                number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right if the reply is the answer."""
        said, answer = reply.lower().strip().rstrip("."), question.answer.lower().strip()
        if reading == "official" or said == answer:
            return {"right": float(said == answer)}
        if question.options:
            letter = letter_of(reply, question.options)
            return {"right": float(letter.lower() == answer), "unread": float(not letter)}
        return {"right": float(normalised(said) == normalised(answer))}

"""AI2D: choices about diagrams of school books.

After: Kembhavi et al., A Diagram Is Worth a Dozen Images, ECCV 2016, as lmms-eval asks it: the
reply, without punctuation, is the option's letter or its text.
Differs: nothing known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of

_PUNCTUATION = re.compile(r"[^\w\s]")


@dataclass(frozen=True)
class Ai2d(Bench):
    """3,088 choices; the file's answer is the index of an option."""

    files: ClassVar[tuple[str, ...]] = ("*.parquet", "*ai2d*.json*", "AI2D*.tsv")
    headline: ClassVar[str] = "ai2d"
    prompts: ClassVar[Mapping[str, Prompt]] = CHOICE_PROMPTS
    constants: ClassVar[tuple[str, ...]] = ("A", "B", "C", "D")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        number = 0
        for path in folder.files(self.files):
            for row in folder.rows(path, ["question", "options", "answer"]):
                answer = str(row["answer"]).strip()
                letter = ascii_uppercase[int(answer)] if answer.isdigit() else answer
                yield Question(
                    id=str(row.get("question_id") or number),
                    text=str(row["question"]),
                    answers=(letter,),
                    images=(folder.picture(row, "image", "image_path"),),
                    options=tuple(map(str, row["options"])),
                )
                number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "robust":
            letter = letter_of(reply, question.options)
            return {"right": float(letter == question.answer), "unread": float(not letter)}
        said = _PUNCTUATION.sub("", reply).strip().lower()
        option = question.options[ascii_uppercase.index(question.answer)]
        return {"right": float(said in (question.answer.lower(), option.strip().lower()))}

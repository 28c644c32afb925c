"""LiveXiv-VQA: choices about figures of new papers.

After: Shabtay et al., LiveXiv, ICLR 2025, as lmms-eval scores it.
Differs: nothing known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of

_CAPITAL = re.compile(r"(?<!^)[A-Z]")


@dataclass(frozen=True)
class LivexivVqa(Bench):
    """Choices of four options."""

    files: ClassVar[tuple[str, ...]] = ("*.parquet", "*livexiv*.json*")
    headline: ClassVar[str] = "livexiv_vqa"
    prompts: ClassVar[Mapping[str, Prompt]] = CHOICE_PROMPTS
    constants: ClassVar[tuple[str, ...]] = ("A", "B", "C", "D")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        columns = ["question", "option_a", "option_b", "option_c", "option_d", "gt"]
        number = 0
        for path in folder.files(self.files):
            for row in folder.rows(path, columns):
                yield Question(
                    id=str(row.get("question_id") or number),
                    text=str(row["question"]),
                    answers=(str(row["gt"]).strip().upper(),),
                    images=(folder.picture(row, "image"),),
                    options=tuple(str(row[f"option_{letter}"]) for letter in "abcd"),
                )
                number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "robust":
            letter = letter_of(reply, question.options)
            return {"right": float(letter == question.answer), "unread": float(not letter)}
        return {"right": float(official(reply) == question.answer)}


def official(reply: str) -> str:
    """What lmms-eval reads: the first letter; of an "answer", the first capital behind its start.

    >>> official("b) two"), official("The answer is C"), official("")
    ('B', 'C', '')
    """
    said = reply.strip()
    if len(said) > 1 and "answer" in said.lower():
        capital = _CAPITAL.search(said)
        return capital[0] if capital else ""
    return said[:1].upper()

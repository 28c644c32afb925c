"""TextVQA: questions about text in photos, scored by VQA accuracy.

After: Singh et al., Towards VQA Models That Can Read, CVPR 2019; the evaluator of M4C.
Differs: contractions are restored whichever of their apostrophes a reply leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from regiontok.evaluation.bench import Bench, Mark, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.words import vqa_accuracy


@dataclass(frozen=True)
class Textvqa(Bench):
    """5,000 questions of the validation set, with ten answers each."""

    files: ClassVar[tuple[str, ...]] = ("TextVQA_*_val.json", "*textvqa*.json*", "*.parquet")
    headline: ClassVar[str] = "textvqa"

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            for row in folder.rows(path, ["question_id", "question", "answers"]):
                named = {"image": row.get("image_id"), **row}
                yield Question(
                    id=str(row["question_id"]),
                    text=str(row["question"]),
                    answers=tuple(map(str, row["answers"])),
                    images=(folder.picture(named, "image", beside=("train_images",)),),
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """The agreement with ten people; both readings are the same."""
        return {"right": vqa_accuracy(reply, question.answers)}

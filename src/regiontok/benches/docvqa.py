"""DocVQA: questions about scanned pages, scored by ANLS.

After: Mathew et al., DocVQA: A Dataset for VQA on Document Images, WACV 2021; ANLS with the
threshold 0.5.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from regiontok.evaluation.bench import Bench, Mark, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.words import anls


@dataclass(frozen=True)
class Docvqa(Bench):
    """5,349 questions of the validation set."""

    files: ClassVar[tuple[str, ...]] = ("val*.json", "*docvqa*.json*", "*.parquet")
    headline: ClassVar[str] = "docvqa"
    longest: ClassVar[int] = 64

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            for row in folder.rows(path, ["questionId", "question", "answers"]):
                yield Question(
                    id=str(row["questionId"]),
                    text=str(row["question"]),
                    answers=tuple(map(str, row["answers"])),
                    images=(
                        folder.picture(
                            row,
                            "image",
                            "image_local_name",
                            beside=("documents", "spdocvqa_images"),
                        ),
                    ),
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """The similarity to the nearest answer; the robust reading drops a last full stop."""
        said = reply.strip().rstrip(".") if reading == "robust" else reply
        return {"right": anls(said, question.answers)}

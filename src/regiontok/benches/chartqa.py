"""ChartQA: questions about charts; numbers may be 5 % off.

After: Masry et al., ChartQA, Findings of ACL 2022, with the relaxed accuracy of Pix2Struct's code.
Differs: the robust reading drops a full stop, blanks, a dollar sign and commas of thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import Bench, Mark, Reading, parts
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.words import relaxed

_PARTS = {"human": "human", "augmented": "augmented"}


@dataclass(frozen=True)
class Chartqa(Bench):
    """2,500 questions, half of them by people and half made from summaries."""

    files: ClassVar[tuple[str, ...]] = ("test_human.json", "test_augmented.json", "*.parquet")
    headline: ClassVar[str] = "chartqa"

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        number = 0
        for path in folder.files(self.files):
            for row in folder.rows(path):
                part = str(row.get("type") or path.stem)
                part = next((name for name in _PARTS if name in part), part)
                answer = row["label"] if "label" in row else row["answer"]
                yield Question(
                    id=f"{part}/{number}",
                    text=str(row.get("query") or row["question"]),
                    answers=(str(answer[0] if isinstance(answer, list) else answer),),
                    images=(folder.picture(row, "image", "imgname", beside=("png",)),),
                    groups={"part": part},
                )
                number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by relaxed accuracy."""
        said, answer = reply, question.answer
        if reading == "robust":
            said, answer = _tidy(reply), _tidy(answer)
        return {"right": float(relaxed(said, answer))}

    def score(self, sample: Sample) -> dict[str, Any]:
        """The share of all, and of each half."""
        return {
            "chartqa": sample.share("right"),
            **parts(sample, "right", "part", _PARTS, "chartqa"),
        }


def _tidy(text: str) -> str:
    return text.strip().rstrip(".").replace("$", "").replace(",", "").strip()

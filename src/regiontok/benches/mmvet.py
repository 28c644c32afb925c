"""MM-Vet: open questions that a language model grades from 0 to 1, by capability.

After: Yu et al., MM-Vet: Evaluating Large Multimodal Models for Integrated Capabilities, ICML 2024.
Differs: the judge is the user's own, behind any OpenAI-compatible address, and its instructions are
written anew to the same rule; the official ones hold seven worked examples. Answers and grades go
in and out in the official form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import ask_short
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample

CAPABILITIES = "rec ocr know gen spat math".split()
_JUDGE = """Grade an answer to a question about a picture that you do not see.
<AND> in the correct answer means that all of its parts must be said; <OR> means that any one of \
them is enough. Give 1.0 for an answer that is right, 0.0 for one that is wrong, and a tenth \
between them for one that is right in part. Reply with that number alone.

Question: {question}
Correct answer: {correct}
Answer to be graded: {reply}
Grade:"""


@dataclass(frozen=True)
class Mmvet(Bench):
    """218 questions, which name the capabilities they want."""

    files: ClassVar[tuple[str, ...]] = ("mm-vet.json", "*mmvet*.json", "*.parquet")
    headline: ClassVar[str] = "mmvet"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "bare": lambda question: question.text.strip(),
        "study": lambda question: ask_short(question.text),
    }
    longest: ClassVar[int] = 512
    judged: ClassVar[bool] = True

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            for row in folder.rows(path, ["question", "answer", "capability"]):
                wanted = row["capability"]
                names = wanted.split(",") if isinstance(wanted, str) else wanted
                yield Question(
                    id=str(row.get("key") or row["question_id"]),
                    text=str(row["question"]),
                    answers=(str(row["answer"]),),
                    images=(folder.picture(row, "local_image", "image", "imagename"),),
                    groups={str(name).strip(): str(name).strip() for name in names},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Nothing without a judge."""
        return {}

    def mark_judged(self, question: Question, grades: Sequence[float]) -> Mark:
        """The mean grade, and that of each time the judge was asked."""
        runs = {f"run_{number}": grade for number, grade in enumerate(grades)}
        return {**super().mark_judged(question, grades), **runs}

    def judge_prompt(self, question: Question, reply: str) -> str:
        """See `Bench.judge_prompt`."""
        return _JUDGE.format(question=question.text, correct=question.answer, reply=reply)

    def score(self, sample: Sample) -> dict[str, Any]:
        """The mean grade of all, and of the questions that want each capability, times 100."""
        return {
            "mmvet": sample.share("right"),
            **{f"mmvet_{name}": sample.share("right", name, name) for name in CAPABILITIES},
        }

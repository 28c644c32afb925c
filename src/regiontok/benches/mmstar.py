"""MMStar: 1,500 choices that need the picture, in six parts of 250.

After: Chen et al., Are We on the Right Way for Evaluating Large Vision-Language Models?, NeurIPS
2024; eval/vlmeval/evaluate/mmstar.py at commit 88f243a is the official reading.
Differs: `mmstar_macro` is the mean over the finer categories that another harness prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading, parts
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import CHOICE, short_answer
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample, mean_of

_PARTS = {
    "coarse perception": "coarse_perception",
    "fine-grained perception": "fine_grained_perception",
    "instance reasoning": "instance_reasoning",
    "logical reasoning": "logical_reasoning",
    "math": "math",
    "science & technology": "science_technology",
}
_OPTION = re.compile(r"(?:^|, |\n)([A-Z]): (.*?)(?=(?:, |\n)[A-Z]: |\Z)", re.DOTALL)


@dataclass(frozen=True)
class Mmstar(Bench):
    """A question holds its options, which are asked as they are published."""

    files: ClassVar[tuple[str, ...]] = (
        "mmstar*.parquet",
        "*.parquet",
        "mmstar*.json",
        "MMStar.tsv",
    )
    headline: ClassVar[str] = "mmstar"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "study": lambda question: short_answer(question.text, ending=CHOICE),
        "bare": lambda question: question.text.strip(),
    }
    constants: ClassVar[tuple[str, ...]] = ("A", "B", "C", "D")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            for row in folder.rows(path, ["index", "question", "answer", "category"]):
                text = str(row["question"])
                yield Question(
                    id=str(row["index"]),
                    text=text,
                    answers=(str(row["answer"]).strip(),),
                    images=(folder.picture(row, "image"),),
                    options=_options(text),
                    groups={"part": str(row["category"]), "fine": str(row.get("l2_category", ""))},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right if the reply begins with the letter, or, robust, chooses it in any form."""
        if reading == "official":
            return {"right": float(official(reply, question.answer))}
        letter = letter_of(reply, question.options or ("",) * 4)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """The share of all, of each part, and the mean over the finer categories."""
        fine = [sample.share("right", "fine", value) for value in sample.values("fine")]
        return {
            "mmstar": sample.share("right"),
            **parts(sample, "right", "part", _PARTS, "mmstar"),
            **({"mmstar_macro": mean_of(fine)} if fine else {}),
        }


def official(reply: str, answer: str) -> bool:
    """Whether MMStar's script takes a reply for the letter.

    >>> official("A suitcase", "A"), official("the answer is (A)", "A")
    (True, False)
    """
    said, letter = reply.lower().strip().replace("\n", " "), answer.lower()
    return bool(letter) and (
        said.startswith((letter, f"({letter}", f"option {letter}", f"the answer is {letter}"))
    )


def _options(text: str) -> tuple[str, ...]:
    """The options in a question's text; none if they are not A, B, C ... in order."""
    _, _, listed = text.partition("Options:")
    labelled = _OPTION.findall(listed.strip())
    letters = "".join(letter for letter, _ in labelled)
    return tuple(option for _, option in labelled) if "ABCDEFGH".startswith(letters) else ()

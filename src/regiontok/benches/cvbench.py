"""CV-Bench: count and relation in 2D, depth and distance in 3D; means of means.

After: Tong et al., Cambrian-1, NeurIPS 2024. The official reading is that of OG-LLaVA's evaluation
code at commit 43039ac, by which the papers' figures were made.
Differs: nothing known. The official reading knows the letters A to E alone and takes nothing for
the answer "(F)", as it does for a reply that it cannot read, which it then counts as right; the
robust one does neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading, parts
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample

_BRACKETED = re.compile(r"\(\s*([A-Ea-e])\s*\)")
_ALONE = re.compile(r"(?<!\S)([A-Ea-e])(?!\S)")
_PARTS = {name.title(): name for name in ("count", "relation", "depth", "distance")}


@dataclass(frozen=True)
class Cvbench(Bench):
    """2,638 choices about space, asked as the other benches' choices are."""

    files: ClassVar[tuple[str, ...]] = ("test_*.parquet", "test*.jsonl", "cv*bench*.json*")
    headline: ClassVar[str] = "cvbench"
    prompts: ClassVar[Mapping[str, Prompt]] = CHOICE_PROMPTS
    constants: ClassVar[tuple[str, ...]] = ("(A)", "(B)", "(C)", "(D)")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        columns = ["idx", "type", "task", "question", "choices", "answer", "source"]
        for path in folder.files(self.files):
            for row in folder.rows(path, columns):
                yield Question(
                    id=str(row["idx"]),
                    text=str(row["question"]),
                    answers=(str(row["answer"]).strip("() "),),
                    images=(folder.picture(row, "image", "filename", "source_filename"),),
                    options=tuple(map(str, row["choices"])),
                    groups={
                        "task": str(row["task"]),
                        "source": str(row["source"]),
                        "type": str(row["type"]),
                    },
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "official":
            return {"right": float(official(reply) == official(f"({question.answer})"))}
        letter = letter_of(reply, question.options)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """Half 2D, itself the mean of ADE20K and COCO, and half 3D, which is Omni3D."""
        ade, coco, omni = (
            sample.share("right", "source", source) for source in ("ADE20K", "COCO", "Omni3D")
        )
        two_d, three_d = (ade + coco) / 2, omni
        return {
            "cvbench": (two_d + three_d) / 2,
            "cvbench_2d": two_d,
            "cvbench_3d": three_d,
            **parts(sample, "right", "task", _PARTS, "cvbench"),
        }


def official(reply: str) -> str | None:
    """The letter that OG-LLaVA's code reads, in the case it has; None if it finds none.

    >>> official("The answer is (B)"), official("A."), official("(F)")
    ('B', None, None)
    """
    match = _BRACKETED.search(reply) or _ALONE.search(reply)
    return match[1] if match else None

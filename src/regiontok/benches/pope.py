"""POPE: is an object in the picture? F1 of "yes", averaged over the three ways to choose objects.

After: Li et al., Evaluating Object Hallucination in Large Vision-Language Models, EMNLP 2023; its
evaluate.py, which is LLaVA's eval_pope.py at commit c121f04, is the official reading.
Differs: answers are paired with questions by their ids, where the script goes by their order; F1 is
0 where no yes is right, where the script divides by 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from regiontok.evaluation.bench import Bench, Mark, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import yes_or_no
from regiontok.evaluation.sample import Sample, mean_of, ratio

PARTS = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class Pope(Bench):
    """9,000 questions that want yes or no: three files of 3,000."""

    files: ClassVar[tuple[str, ...]] = (
        *(f"coco_pope_{part}.json" for part in PARTS),
        "*pope*.jsonl",
        "*.parquet",
    )
    headline: ClassVar[str] = "pope_f1"
    longest: ClassVar[int] = 16
    constants: ClassVar[tuple[str, ...]] = ("Yes", "No")

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            rows = folder.rows(path, ["question_id", "image"])
            for row in rows:
                part = str(row.get("category") or _part_of(path))
                yield Question(
                    id=f"{part}/{row['question_id']}",
                    text=str(row.get("text") or row["question"]),
                    answers=(str(row.get("label") or row["answer"]).strip().lower(),),
                    images=(folder.picture(row, "local_image", "image"),),
                    groups={"part": part},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right, and said yes; a robust reader that finds neither word counts it as wrong."""
        said = official(reply) if reading == "official" else yes_or_no(reply)
        return {
            "right": float(said == question.answer),
            "yes": float(said == "yes"),
            "is_yes": float(question.answer == "yes"),
            "unread": float(not said),
        }

    def score(self, sample: Sample) -> dict[str, Any]:
        """F1 of each part and their mean, with accuracy and the share of yes of all."""
        parts = sample.values("part")
        by_part = {f"pope_f1_{part}": _f1(sample, part) for part in parts}
        return {
            "pope_f1": mean_of(list(by_part.values())),
            **by_part,
            "pope_accuracy": sample.share("right"),
            "pope_yes": sample.share("yes"),
        }


def official(reply: str) -> str:
    """What POPE's script reads: "no" if a word of the first sentence is No, not or no; else yes.

    >>> official("There is not a dog"), official("NO"), official("Yes. No.")
    ('no', 'yes', 'yes')
    """
    words = reply.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def _part_of(path: Path) -> str:
    return next((part for part in PARTS if part in path.stem), path.stem)


def _f1(sample: Sample, part: str) -> Any:
    where = sample.members("part", part)
    said, right = sample["yes"], sample["is_yes"]
    hits = sample.total(said * right, where)
    said_count, right_count = sample.total(said, where), sample.total(right, where)
    precision, recall = ratio(hits, said_count), ratio(hits, right_count)
    f1 = ratio(2 * precision * recall, precision + recall)
    nothing_right = (hits == 0) & (said_count + right_count > 0)  # where the script divides by 0
    return 100 * np.where(nothing_right, 0.0, f1)

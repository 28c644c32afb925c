"""OCRBench: 1,000 questions about text in pictures; an answer must stand in the reply.

After: Liu et al., OCRBench: On the Hidden Mystery of OCR in Large Multimodal Models, 2024;
OCRBench/example.py at commit 794c36d is the official reading.
Differs: the robust reading also folds full-width letters and runs of blanks, as a harness does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import ask_short
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample

_FORMULAS = "HME100k"
_PARTS = {
    "text_recognition": (
        "Regular Text Recognition",
        "Irregular Text Recognition",
        "Artistic Text Recognition",
        "Handwriting Recognition",
        "Digit String Recognition",
        "Non-Semantic Text Recognition",
    ),
    "scene_text_vqa": ("Scene Text-centric VQA",),
    "document_vqa": ("Doc-oriented VQA",),
    "key_information": ("Key Information Extraction",),
    "handwritten_math": ("Handwritten Mathematical Expression Recognition",),
}


@dataclass(frozen=True)
class Ocrbench(Bench):
    """The score is a number of questions, of 1,000."""

    files: ClassVar[tuple[str, ...]] = ("OCRBench.json", "*.parquet", "OCRBench*.tsv")
    headline: ClassVar[str] = "ocrbench"
    highest: ClassVar[float] = 1000.0
    longest: ClassVar[int] = 100
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "study": lambda question: ask_short(question.text),
        "bare": lambda question: question.text.strip(),
    }

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            rows = folder.rows(path, ["question"])
            for number, row in enumerate(rows):
                answers = row.get("answers", row.get("answer", ()))
                kind = row.get("type") or row.get("question_type") or row.get("category") or ""
                yield Question(
                    # ids of the file are those within a source, and come twice
                    id=str(number),
                    text=str(row["question"]),
                    answers=tuple(answers) if isinstance(answers, list) else (str(answers),),
                    images=(folder.picture(row, "image", "image_path"),),
                    groups={"type": str(kind)},
                    metadata={"source": str(row.get("dataset_name") or row.get("dataset") or "")},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right if any answer stands in the reply."""
        is_formula = question.metadata.get("source") == _FORMULAS
        if reading == "robust":
            reply = _folded(reply)
        said = _prepared(reply, is_formula)
        answers = map(_folded, question.answers) if reading == "robust" else question.answers
        return {"right": float(any(_prepared(answer, is_formula) in said for answer in answers))}

    def score(self, sample: Sample) -> dict[str, Any]:
        """How many are right, of all and of each of the five parts."""
        right = sample["right"]
        by_part = {}
        for name, types in _PARTS.items():
            where = np.any([sample.members("type", kind) for kind in types], axis=0)
            by_part[f"ocrbench_{name}"] = sample.total(right, where)
        return {"ocrbench": sample.total(right), **by_part}


def _prepared(text: str, is_formula: bool) -> str:
    text = text if is_formula else text.lower()
    text = text.strip().replace("\n", " ")
    return text.replace(" ", "") if is_formula else text


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())

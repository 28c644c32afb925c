"""OCRBench v2: 10,000 questions about text in pictures, in English and Chinese, of 31 types.

After: Fu et al., OCRBench v2, 2025, as its own evaluation scripts have it.
Differs: where WordNet is missing, what METEOR scores (whole pages, translations, short essays) is
counted as "unscored", and the capabilities and totals that it is part of have no score. A language
whose capabilities are not all there has none either. Key-value pairs are compared with all right
combinations at once. A table whose question names neither HTML nor Markdown is compared as HTML.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading
from regiontok.evaluation.fields import box_overlap, last_box, pairs_agreement, pairs_of
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.page_text import page_likeness
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample, mean_of
from regiontok.evaluation.spotting import right_words, spotting_agreement, words_of
from regiontok.evaluation.trees import (
    chart_likeness,
    document_likeness,
    html_likeness,
    markdown_likeness,
)
from regiontok.evaluation.words import likeness

# capability -> its types; the last two letters are the language
_CAPABILITIES = {
    "text_recognition_en": (
        "text recognition en",
        "fine-grained text recognition en",
        "full-page OCR en",
    ),
    "text_detection_en": ("text grounding en", "VQA with position en"),
    "text_spotting_en": ("text spotting en",),
    "relationship_extraction_en": ("key information extraction en", "key information mapping en"),
    "element_parsing_en": (
        "document parsing en",
        "chart parsing en",
        "table parsing en",
        "formula recognition en",
    ),
    "mathematical_calculation_en": ("math QA en", "text counting en"),
    "visual_text_understanding_en": (
        "document classification en",
        "cognition VQA en",
        "diagram QA en",
    ),
    "knowledge_reasoning_en": (
        "reasoning VQA en",
        "science QA en",
        "APP agent en",
        "ASCII art classification en",
    ),
    "text_recognition_cn": ("full-page OCR cn",),
    "relationship_extraction_cn": (
        "key information extraction cn",
        "handwritten answer extraction cn",
    ),
    "element_parsing_cn": ("document parsing cn", "table parsing cn", "formula recognition cn"),
    "visual_text_understanding_cn": ("cognition VQA cn",),
    "knowledge_reasoning_cn": ("reasoning VQA cn", "text translation cn"),
}
_PAGES = ("full-page OCR", "fine-grained text recognition", "text translation")
_SHORT_WORDS, _SHORT_PARTS = 5, 4  # answers of fewer must stand in the reply as they are
_JOINTS = ("", ".", ". ", ",", ", ", "、", ";", "; ", " ", "和")
_TEXT_TAG = re.compile(r"\\text\{([^{}]*)\}")


@dataclass(frozen=True)
class OcrbenchV2(Bench):
    """Questions ask for their own form of answer, so they are asked as they are."""

    version: ClassVar[int] = 2
    files: ClassVar[tuple[str, ...]] = ("OCRBench_v2.json", "*.parquet")
    headline: ClassVar[str] = "ocrbench_v2"
    prompts: ClassVar[Mapping[str, Prompt]] = {"bare": lambda question: question.text.strip()}
    longest: ClassVar[int] = 512

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        number = 0
        for path in folder.files(self.files):
            for row in folder.rows(path, ["question", "answers", "type"]):
                answers, kind = row["answers"], str(row["type"])
                answers = answers if isinstance(answers, list) else [answers]
                yield Question(
                    id=str(row.get("id", number)),
                    text=str(row["question"]),
                    answers=tuple(map(str, answers)),
                    images=(folder.picture(row, "image", "image_path"),),
                    groups={"type": kind},
                    metadata={
                        "eval": str(row.get("eval") or ""),
                        "bbox": _listed(row.get("bbox")),
                        "content": _listed(row.get("content")),
                    },
                )
                number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """By the type's own rule; NaN for a type that has no score here."""
        kind, answer = question.groups["type"], question.answer
        said = _folded(reply) if reading == "robust" else reply
        if kind == "text translation cn" and reply and not answer:
            return {"right": float("nan"), "unscored": 0.0}  # "ignore" of the published script
        right = _worth(question, kind, said)
        return {"right": right, "unscored": float(math.isnan(right))}

    def score(self, sample: Sample) -> dict[str, Any]:
        """Capabilities, the mean of each language's, and the mean of both, in percent."""
        scores = {
            f"ocrbench_v2_{name}": self._capability(sample, types)
            for name, types in _CAPABILITIES.items()
        }
        by_language = {
            f"ocrbench_v2_{language}": mean_of(
                [value for name, value in scores.items() if name.endswith(language)]
            )
            for language in ("en", "cn")
        }
        scored = 100 * sample.mean(sample["right"])
        total = mean_of(list(by_language.values()))
        return {"ocrbench_v2": total, **by_language, "ocrbench_v2_scored": scored, **scores}

    def _capability(self, sample: Sample, types: Sequence[str]) -> Any:
        where = np.any([sample.members("type", kind) for kind in types], axis=0)
        share = 100 * sample.mean(sample["right"], where)
        return share * float("nan") if np.any(sample["unscored"][where] > 0) else share


def _listed(value: Any) -> list[Any]:
    """A list of a row, also where it is written out as text; empty for what is none."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return []
    return list(value) if isinstance(value, list | tuple) else []


def _worth(question: Question, kind: str, reply: str) -> float:
    answers, way = question.answers, question.metadata["eval"]
    if kind == "text counting en":
        return max(_counted(reply, answer, way) for answer in answers)
    if kind.startswith("formula recognition"):
        return _formula(reply, answers)
    if kind.startswith("key information"):
        return pairs_agreement(pairs_of(reply), _right_pairs(answers[0]))
    if kind == "text grounding en":
        box = last_box(reply)
        return box_overlap(box, [float(side) for side in answers]) if box else 0.0
    if kind == "VQA with position en":
        return _with_position(reply, answers, question.metadata["bbox"])
    if kind.startswith("table parsing"):
        asked = question.text.lower()
        in_markdown = kind.endswith("en") and "markdown" in asked and "html" not in asked
        return (markdown_likeness if in_markdown else html_likeness)(reply, answers[0])
    if kind == "chart parsing en":
        return chart_likeness(reply, answers[0])
    if kind.startswith("document parsing"):
        return document_likeness(reply, answers[0])
    if kind == "text spotting en":
        right = right_words(question.metadata["bbox"], question.metadata["content"])
        return spotting_agreement(words_of(reply), right)
    essay = kind == "handwritten answer extraction cn" and "简答" in question.text
    if essay or kind.startswith(_PAGES):
        return page_likeness(reply, answers[0]) if reply or essay else 0.0
    if kind == "handwritten answer extraction cn":
        letters = list(answers[0])
        return float(any(joint.join(letters) in reply for joint in _JOINTS))
    if way == "multiple choice":
        return float("".join(filter(str.isalpha, reply)) == answers[0])
    return _words(reply, answers, chinese=kind.endswith("cn"), cased=way == "case sensitive")


def _words(reply: str, answers: Sequence[str], *, chinese: bool, cased: bool) -> float:
    """1 if a short answer stands in the reply; a long one by likeness, from a half on."""

    def prepared(text: str) -> str:
        text = (text if cased else text.lower()).strip().replace("\n", " ")
        return text.replace(" ", "") if chinese and not cased else text

    said, best = prepared(reply), 0.0
    for answer in map(prepared, answers):
        if chinese and not cased:
            is_short = len(answer.split(",")) < _SHORT_PARTS
        else:
            is_short = len(answer.split()) < _SHORT_WORDS
        best = max(best, float(answer in said) if is_short else likeness(said, answer))
    return best


def _counted(reply: str, answer: str, way: str) -> float:
    """A number: as it is, or by how far the first number of the reply lies from it."""
    if way != "regression":
        return float(answer.lower().strip() in reply)
    match = re.search(r"\d+", reply)
    said, right = int(match[0]) if match else 0, int(answer)
    if not 0 < said < 2 * right:
        return 0.0
    near = 1 - abs(said - right) / right
    return near if near > 0.5 else 0.0


def _formula(reply: str, answers: Sequence[str]) -> float:
    def prepared(text: str) -> str:
        return _TEXT_TAG.sub(r"\1", text).strip().replace("\n", " ").replace(" ", "")

    return float(any(prepared(answer) in prepared(reply) for answer in answers))


def _right_pairs(text: str) -> dict[str, list[str]]:
    """The right values of each key, of which any will do."""
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pairs = pairs_of(text)
    return {
        str(key): [str(value) for value in (values if isinstance(values, list) else [values])]
        for key, values in pairs.items()
    }


def _with_position(reply: str, answers: Sequence[str], right_box: Sequence[Any]) -> float:
    """Half for the words, half for the box."""
    pairs = pairs_of(reply)
    words = _words(pairs["answer"], answers, chinese=False, cased=False) if "answer" in pairs else 0
    box = last_box(pairs.get("bbox", ""))
    return 0.5 * words + 0.5 * (box_overlap(box, right_box) if box else 0.0)


def _folded(text: str) -> str:
    """A reply without the decoration around it."""
    return text.strip().strip("*`").strip()

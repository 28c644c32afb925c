"""ConMe: questions about captions whose wrong options vision-language models themselves made up.

After: Huang et al., ConMe: Rethinking Evaluation of Compositional Reasoning for Modern VLMs,
NeurIPS 2024. The official reading is OG-LLaVA's evaluation code at commit 43039ac: the reply is
the letter, or wrong.
Differs: `order="rotated"` moves the right option to each place equally often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading, parts
from regiontok.evaluation.captions import ORDERS, by_position, ordered
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import CHOICE, short_answer
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.tables import BenchDataError
from regiontok.system.choices import check_choice

_OPTION = re.compile(r"^\s*\(?([A-Z])[).:]\s*(.+?)\s*$", re.MULTILINE)
_SKIPPED = "<_s_k_i_p_>"
_PARTS = {f"replace_{kind}": f"replace_{kind}" for kind in ("att", "obj", "rel")}


@dataclass(frozen=True)
class Conme(Bench):
    """24,347 choices in three parts.

    Attributes:
        order: where the right option stands: "published", as the files have it, or "rotated".
    """

    order: str = "published"
    files: ClassVar[tuple[str, ...]] = tuple(
        f"*replace?{kind}*.{suffix}"
        for kind in ("att", "obj", "rel")
        for suffix in ("csv", "json", "jsonl", "parquet")
    )
    headline: ClassVar[str] = "conme"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "og-llava": lambda question: short_answer(_as_published(question), ending=CHOICE),
        **CHOICE_PROMPTS,
    }
    longest: ClassVar[int] = 16
    constants: ClassVar[tuple[str, ...]] = ("A", "B")

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            part = _part_of(path)
            for number, row in enumerate(folder.rows(path, ["image", "question", "answer"])):
                answer = str(row["answer"]).strip()
                if answer.lower() == _SKIPPED:
                    continue
                stem, options = _stem_and_options(str(row["question"]), path, number)
                letter = answer.strip("(). ")[:1].upper()
                if letter not in ascii_uppercase[: len(options)]:
                    raise BenchDataError(
                        f"{path}: row {number} has the answer {answer!r} to {len(options)} options"
                    )
                if self.order == "rotated":
                    right = options.pop(ascii_uppercase.index(letter))
                    options, letter = ordered(right, options, number, self.order)
                yield Question(
                    id=f"{part}/{number}",
                    text=stem,
                    answers=(letter,),
                    images=(folder.picture(row, "image"),),
                    options=tuple(options),
                    groups={"part": part, "position": letter},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "official":
            return {"right": float(reply == question.answer)}
        letter = letter_of(reply, question.options)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """The share of all, of each part, and by the place of the right option."""
        return {
            "conme": sample.share("right"),
            **parts(sample, "right", "part", _PARTS, "conme"),
            **by_position(sample, "conme"),
        }


def _part_of(path: Path) -> str:
    name = path.name.lower().replace("-", "_")
    return next(part for part in _PARTS if part in name)


def _stem_and_options(text: str, path: Path, number: int) -> tuple[str, list[str]]:
    """A question and its options, which the published text holds on lines of their own."""
    matches = list(_OPTION.finditer(text))
    letters = "".join(match[1] for match in matches)
    if len(matches) < 2 or not ascii_uppercase.startswith(letters):
        raise BenchDataError(
            f"{path}: row {number} holds no options 'A. ...', 'B. ...' on lines of their own: "
            f"{text[:80]!r}"
        )
    return text[: matches[0].start()].strip(), [match[2] for match in matches]


def _as_published(question: Question) -> str:
    lines = [
        f"{letter}. {text}" for letter, text in zip(question.letters, question.options, strict=True)
    ]
    return "\n".join([question.text, *lines])

"""MMVP: 150 pairs of pictures that CLIP takes for the same; by question, and by pair.

After: Tong et al., Eyes Wide Shut?, CVPR 2024. The official reading is that of OG-LLaVA's
evaluation code at commit 43039ac, which counts single questions; the benchmark's own authors count
pairs.
Differs: a prompt has no blank behind its last line. The official reading takes the first letter of
any word for an option; the robust one does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import CHOICE_PROMPTS, Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import CHOICE, short_answer
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.tables import BenchDataError
from regiontok.system.choices import check_choice

# questions whose right answers lmms-eval takes for exchanged
SWAPPED = (99, 100, 279, 280)
_BRACKETED = re.compile(r"\(\s*([a-zA-Z])\s*\)")
_LETTER = re.compile(r"[a-zA-Z]")
_OPTIONS = re.compile(r"\(a\)\s*(.*?)\s*\(b\)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Mmvp(Bench):
    """300 choices of two options.

    Attributes:
        labels: "original", or "corrected", which exchanges the answers of `SWAPPED`.
    """

    labels: str = "original"
    files: ClassVar[tuple[str, ...]] = ("Questions.csv", "*.parquet")
    headline: ClassVar[str] = "mmvp"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        **CHOICE_PROMPTS,
        "og-llava": lambda question: short_answer(
            f"{question.text} (a) {question.options[0]} (b) {question.options[1]}", ending=CHOICE
        ),
    }
    constants: ClassVar[tuple[str, ...]] = ("(a)", "(b)")
    unit: ClassVar[str] = "pair"

    def __post_init__(self) -> None:
        check_choice("labels", self.labels, ("original", "corrected"))

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            for row in folder.rows(path, ["Index", "Question", "Options", "Correct Answer"]):
                number = int(row["Index"])
                match = _OPTIONS.search(str(row["Options"]))
                if match is None:
                    raise BenchDataError(
                        f"{path}: question {number} has the options {row['Options']!r}, expected "
                        "'(a) ... (b) ...'"
                    )
                answer = str(row["Correct Answer"]).strip("() ").upper()
                if self.labels == "corrected" and number in SWAPPED:
                    answer = {"A": "B", "B": "A"}[answer]
                named = {"image": f"{number}.jpg", **row}
                yield Question(
                    id=str(number),
                    text=str(row["Question"]).strip(),
                    answers=(answer,),
                    images=(folder.picture(named, "image", beside=("MMVP Images",)),),
                    options=match.groups(),
                    groups={"pair": str((number + 1) // 2)},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "official":
            return {"right": float(question.answer.lower() in official(reply))}
        letter = letter_of(reply, question.options)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """The share of questions, and of pairs with both right."""
        pairs = sample.mean(sample.worst_of("right", "pair"), sample.first_of("pair"))
        return {"mmvp": sample.share("right"), "mmvp_pairs": 100 * pairs}


def official(reply: str) -> str:
    """What OG-LLaVA's code reads: a letter in brackets, else the first letter there is.

    >>> official("B."), official("Neither"), official("")
    ('b', 'n', 'None')
    """
    match = _BRACKETED.search(reply) or _LETTER.search(reply)
    return match[match.lastindex or 0].lower() if match else "None"

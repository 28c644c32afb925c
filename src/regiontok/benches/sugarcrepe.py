"""SugarCrepe: a caption against one that is wrong in one word or two, in seven ways.

After: Hsieh et al., SugarCrepe: Fixing Hackable Benchmarks for Vision-Language Compositionality,
NeurIPS 2023.
Differs: the original compares the scores of both captions, a tie being wrong; here a model is asked
which it is, with the right caption in each place equally often. The mean over the seven parts is
ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from regiontok.evaluation.bench import (
    CHOICE_PROMPTS,
    Bench,
    Mark,
    Prompt,
    Reading,
    captions_prompt,
)
from regiontok.evaluation.captions import ORDERS, by_position, ordered
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample, mean_of
from regiontok.system.choices import check_choice

PARTS = "add_att add_obj replace_att replace_obj replace_rel swap_att swap_obj".split()


@dataclass(frozen=True)
class Sugarcrepe(Bench):
    """7,511 choices of two captions.

    Attributes:
        order: where the right caption stands: "rotated", or "published" for B always.
    """

    order: str = "rotated"
    files: ClassVar[tuple[str, ...]] = (*(f"{part}.json" for part in PARTS), "*sugarcrepe*.jsonl")
    headline: ClassVar[str] = "sugarcrepe"
    prompts: ClassVar[Mapping[str, Prompt]] = {"og-llava": captions_prompt, **CHOICE_PROMPTS}
    longest: ClassVar[int] = 16
    constants: ClassVar[tuple[str, ...]] = ("A", "B")

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            rows = folder.rows(path, ["filename", "caption", "negative_caption", "key"])
            for number, row in enumerate(rows):
                part = str(row.get("category") or path.stem)
                captions, letter = ordered(
                    str(row["caption"]), [str(row["negative_caption"])], number, self.order
                )
                yield Question(
                    id=f"{part}/{row['key']}",
                    text="Which caption describes the image?",
                    answers=(letter,),
                    images=(folder.picture(row, "local_image", "filename"),),
                    options=tuple(captions),
                    groups={"part": part, "position": letter},
                )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read; both readings are the robust one."""
        letter = letter_of(reply, question.options)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """The mean of the parts, each part, and by the place of the right caption."""
        there = [part for part in PARTS if part in sample.values("part")]
        shares = {f"sugarcrepe_{part}": sample.share("right", "part", part) for part in there}
        return {
            "sugarcrepe": mean_of(list(shares.values())),
            **shares,
            **by_position(sample, "sugarcrepe"),
        }

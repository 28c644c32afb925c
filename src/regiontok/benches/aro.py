"""ARO: which caption is right: relations, attributes, and the order of words.

After: Yuksekgonul et al., When and Why Vision-Language Models Behave Like Bags-of-Words, ICLR 2023,
as choices of OG-LLaVA's evaluation code at commit 43039ac, which is the official reading.
Differs: the original compares the scores of captions. `order="rotated"` puts the right caption in
each place equally often: the released tasks have it at B always, so that "B" alone scores 100. A
file of negative captions in ARO's style is a fifth part, outside the average.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from regiontok.evaluation.averages import ARO_ITEMS, weighted_by_items
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
from regiontok.evaluation.images import ImageFile, QuestionImage
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of
from regiontok.evaluation.sample import Sample, mean_of
from regiontok.evaluation.tables import BenchDataError, Row
from regiontok.system.choices import check_choice

_BRACKETED = re.compile(r"\(\s*([A-Ea-e])\s*\)")
_ALONE = re.compile(r"(?<!\S)([A-Ea-e])(?!\S)")
_NEGATIVES = "negative_captions"
_PARTS = {  # what a file's name holds -> its part
    "relation": "relation",
    "attribut": "attribution",
    "coco_order": "coco_order",
    "flickr": "flickr_order",
    "neg": _NEGATIVES,
}
_FEWEST = 25  # cases of an attribute pair that counts in the macro mean


@dataclass(frozen=True)
class Aro(Bench):
    """Two captions a question, or five for the orders.

    Attributes:
        order: where the right caption stands: "published" (B, always) or "rotated".
    """

    order: str = "published"
    files: ClassVar[tuple[str, ...]] = tuple(
        f"*{name}*.{suffix}" for name in _PARTS for suffix in ("json", "jsonl", "parquet", "tsv")
    )
    headline: ClassVar[str] = "aro"
    prompts: ClassVar[Mapping[str, Prompt]] = {"og-llava": captions_prompt, **CHOICE_PROMPTS}
    longest: ClassVar[int] = 16
    constants: ClassVar[tuple[str, ...]] = ("A", "B")

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        for path in folder.files(self.files):
            part = _part_of(path)
            number = 0
            for row_number, row in enumerate(folder.rows(path)):
                for right, wrong in _captions(path, row):
                    captions, letter = ordered(right, wrong, number, self.order)
                    yield Question(
                        id=f"{part}/{row_number}" + (f"/{number}" if part == _NEGATIVES else ""),
                        text="Which caption describes the image?",
                        answers=(letter,),
                        images=(_picture(folder, row),),
                        options=tuple(captions),
                        groups={"part": part, "position": letter, "kind": _kind(row)},
                    )
                    number += 1

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter that is read."""
        if reading == "official":
            return {"right": float(official(reply) == question.answer)}
        letter = letter_of(reply, question.options)
        return {"right": float(letter == question.answer), "unread": float(not letter)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """Each part, their average by published numbers of items, and macro means by kind."""
        scores = {f"aro_{part}": sample.share("right", "part", part) for part in ARO_ITEMS}
        macro = {
            "aro_relation_macro": _macro(sample, "relation", 1),
            "aro_attribution_macro": _macro(sample, "attribution", _FEWEST),
        }
        extra = (
            {f"aro_{_NEGATIVES}": sample.share("right", "part", _NEGATIVES)}
            if _NEGATIVES in sample.values("part")
            else {}
        )
        average = weighted_by_items({part: scores[f"aro_{part}"] for part in ARO_ITEMS}, ARO_ITEMS)
        return {"aro": average, **scores, **macro, **extra, **by_position(sample, "aro")}


def official(reply: str) -> str | None:
    """The letter that OG-LLaVA's code reads, in the case it has; None if it finds none.

    >>> official("Answer: B"), official("B.the horse eats"), official("Both")
    ('B', None, None)
    """
    match = _BRACKETED.search(reply) or _ALONE.search(reply)
    return match[1] if match else None


def _part_of(path: Path) -> str:
    name = path.name.lower().replace("-", "_")
    return next(part for word, part in _PARTS.items() if word in name)


def _captions(path: Path, row: Row) -> Iterator[tuple[str, Sequence[str]]]:
    """The right caption and the wrong ones of each question of a row."""
    if "false_caption" in row:
        yield str(row["true_caption"]), [str(row["false_caption"])]
    elif "hard_text_1" in row:
        yield str(row["correct_caption"]), [str(row[f"hard_text_{i}"]) for i in range(1, 5)]
    elif "neg_caption" in row:
        wrong = row["neg_caption"]
        texts = ast.literal_eval(wrong) if isinstance(wrong, str) else wrong
        right = str(row.get("title") or row.get("caption"))
        yield from ((right, [str(text)]) for text in texts)
    else:
        raise BenchDataError(
            f"{path} has the columns {', '.join(row)}: expected true_caption and false_caption, "
            "correct_caption and hard_text_1 to 4, or neg_caption"
        )


def _kind(row: Row) -> str:
    """The relation or the pair of attributes of a row, by which macro means go; "" if unsaid."""
    if row.get("relation_name"):
        return str(row["relation_name"])
    attributes = row.get("attributes")
    return "_".join(map(str, attributes)) if isinstance(attributes, list | tuple) else ""


def _picture(folder: BenchFolder, row: Row) -> QuestionImage:
    """The picture, cut to the box of Visual Genome's parts where the row has one."""
    columns = ("local_image", "image", "images", "image_path", "filepath")
    image = folder.picture(row, *columns)
    sides = [row.get(f"bbox_{side}") for side in "xywh"]
    if not isinstance(image, ImageFile) or None in sides:
        return image
    x, y, width, height = (int(side) for side in sides if side is not None)
    return ImageFile(image.name, image.path, (x, y, width, height))


def _macro(sample: Sample, part: str, fewest: int) -> Any:
    """The mean over kinds with enough questions; NaN where no row says its kind."""
    is_part = sample.members("part", part)
    shares = [
        100 * sample.mean(sample["right"], where)
        for kind in sample.values("kind")
        if (where := is_part & sample.members("kind", kind)).sum() >= fewest
    ]
    return mean_of(shares) if shares else sample.total(sample["right"]) * float("nan")

"""What the task files beside this module say in Python; lmms-eval loads it by its path.

After: OG-LLaVA's tasks `aro` and `conme` at commit 43039ac (prompts), diagnostic study (row D14).
Differs: the right caption's letter is drawn by a hash of the captions, where OG-LLaVA's task always
puts it at B and a model that always says B scores 100 %; replies such as "B." or "B. the horse" are
understood. ARO is scored as a mean over items, since these files do not name their relations.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from PIL import Image

from regiontok.core.picture import Picture
from regiontok.evaluation.prompts import CHOICE, ask_choice, caption_choice

Doc = Mapping[str, Any]
HARD_TEXTS = tuple(f"hard_text_{number}" for number in range(1, 5))


def picture(doc: Doc) -> list[Image.Image]:
    """The picture of a row, whatever its column is called and whether it is decoded."""
    value = next(doc[name] for name in ("image", "images") if doc.get(name) is not None)
    value = value[0] if isinstance(value, list) else value
    if isinstance(value, Mapping):
        return [Picture.of(value["bytes"]).pil]
    return [value.convert("RGB")]


def captions(doc: Doc) -> tuple[list[str], int]:
    """The captions of a row in the order in which they are shown, and the index of the right one.

    >>> captions({"true_caption": "a", "false_caption": "b"})
    (['b', 'a'], 1)
    """
    if "true_caption" in doc:
        right, wrong = str(doc["true_caption"]), [str(doc["false_caption"])]
    else:
        right, wrong = str(doc["correct_caption"]), [str(doc[name]) for name in HARD_TEXTS]
    place = zlib.crc32("\n".join((right, *wrong)).encode()) % (len(wrong) + 1)
    return [*wrong[:place], right, *wrong[place:]], place


def caption_text(doc: Doc, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question which caption describes the picture."""
    return caption_choice(captions(doc)[0])


def caption_target(doc: Doc) -> str:
    """The letter of the right caption."""
    return ascii_uppercase[captions(doc)[1]]


def caption_result(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Whether the reply names the right caption."""
    shown, place = captions(doc)
    return {"accuracy": float(chosen_letter(results[0], len(shown)) == ascii_uppercase[place])}


def conme_text(doc: Doc, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question with its options, and how to answer."""
    return f"{str(doc['question']).strip()}\n{CHOICE}"


def conme_target(doc: Doc) -> str:
    """The letter of the right option."""
    return str(doc["answer"]).strip("(). ").upper()[:1]


def conme_result(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Whether the reply names the right option."""
    return {"accuracy": float(chosen_letter(results[0], 5) == conme_target(doc))}


def pixcv_text(doc: Doc, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question with its options, as the study asks."""
    return ask_choice(doc["question"], doc["choices"])


def pixcv_result(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """Whether the reply names the right option, with the source that it counts for."""
    right = chosen_letter(results[0], len(doc["choices"])) == conme_target(doc)
    return {"accuracy": float(right), "accuracy_2d": (str(doc["source"]), float(right))}


def mean_of_sources(results: Sequence[tuple[str, float]]) -> float:
    """CV-Bench's 2D accuracy: the mean of those of ADE20K and COCO.

    >>> mean_of_sources([("COCO", 1.0), ("COCO", 0.0), ("ADE20K", 1.0)])
    0.75
    """
    by_source: dict[str, list[float]] = defaultdict(list)
    for source, right in results:
        by_source[source].append(right)
    return sum(sum(each) / len(each) for each in by_source.values()) / len(by_source)


def chosen_letter(reply: str, options: int) -> str:
    """The letter that a reply names, "" if none or several.

    >>> [chosen_letter(text, 2) for text in ("B", "(B)", "**B**", "B. a dog", "Answer: B", "b")]
    ['B', 'B', 'B', 'B', 'B', 'B']
    >>> chosen_letter("A or B", 2), chosen_letter("Both", 2), chosen_letter("a dog", 2)
    ('', '', '')
    """
    letters = ascii_uppercase[:options]
    if re.fullmatch(rf"\W*[{letters}]\W*", reply, re.IGNORECASE):
        return re.sub(r"\W", "", reply).upper()
    if opening := re.match(rf"\W*([{letters}])\W*[.):]", reply):
        return opening[1]
    named = set(re.findall(rf"\b[{letters}]\b", reply))
    return named.pop() if len(named) == 1 else ""

"""Text spotting: the words of a picture, each with its box, against the right ones.

After: OCRBench v2's eval_scripts/spotting_metric.py at commit 794c36d, which calls the end-to-end
evaluation of ICDAR's Robust Reading Competition (E2E_iou_1_1) with an overlap of a half.
Differs: a right text that is empty, or has a line break, is compared as it is; the published script
ends at it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from regiontok.evaluation.fields import box_overlap

_IN_BRACKETS = re.compile(r"[\[(]\s*([^\[\]()]*?)\s*[\])]")
_QUOTED = re.compile(r'^\s*"(.*)"\s*$')
_UNREADABLE = "###"  # the right text of a word that nobody can read
_MARKS = "!?.:,*\"()·[]/'"  # one of them may be left out at each end of a right text
_HIGHEST = 1000  # the largest coordinate that a reply may name


class Word(NamedTuple):
    """A word and its box.

    Attributes:
        box: (x0, y0, x1, y1), in the units of the right boxes.
        text: what it says.
    """

    box: tuple[int, int, int, int]
    text: str


def words_of(reply: str) -> list[Word]:
    """The words of a reply: a list of `x0, y0, x1, y1, text`, or such in any brackets.

    Words that are there twice, or whose box is not of whole numbers from 0 to 1,000, are left out.

    >>> words_of("[[1, 2, 30, 40, 'exit']] "), words_of("at (1, 2, 30, 40, exit)")
    ([Word(box=(1, 2, 30, 40), text='exit')], [Word(box=(1, 2, 30, 40), text='exit')])
    """
    words: dict[Word, None] = {}
    for fields in _rows(reply):
        try:
            x0, y0, x1, y1 = (int(str(side).strip()) for side in fields[:4])
        except ValueError:
            continue
        if all(0 <= side <= _HIGHEST for side in (x0, y0, x1, y1)):
            text = str(fields[4]).replace("\n", "").strip().strip('"').strip("'")
            words[Word((x0, y0, x1, y1), text)] = None
    return list(words)


def _rows(reply: str) -> Iterator[Sequence[Any]]:
    try:
        data = ast.literal_eval(reply)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        data = None
    if data is None:
        rows: Sequence[Any] = [inside.split(",", 4) for inside in _IN_BRACKETS.findall(reply)]
    else:
        rows = data if isinstance(data, list | tuple) else ()
    return (row for row in rows if isinstance(row, list | tuple) and len(row) >= 5)


def right_words(boxes: Sequence[Sequence[float]], texts: Sequence[str]) -> list[Word]:
    """The right words; each box is made of all corners that are given, and stands upright.

    Args:
        boxes: corners x, y, x, y, ... of each word.
        texts: one for each.
    """
    words = []
    for corners, text in zip(boxes, texts, strict=False):
        across, down = corners[0::2], corners[1::2]
        sides = (min(across), min(down), max(across), max(down))
        x0, y0, x1, y1 = (int(side) for side in sides)
        words.append(Word((x0, y0, x1, y1), str(text)))
    return words


def spotting_agreement(said: Sequence[Word], right: Sequence[Word]) -> float:
    """The harmonic mean of precision and recall over words.

    A word is found if its box overlaps by more than a half and its text is the same, whatever the
    case. What lies for more than a half on words that nobody can read does not count.
    """
    said = [w for w in said if w.box[0] < w.box[2] and w.box[1] < w.box[3]]
    ignored = [word.box for word in right if _unquoted(word.text) == _UNREADABLE]
    wanted = [word for word in right if _unquoted(word.text) != _UNREADABLE]
    counted = [w for w in said if not any(_share_within(w.box, box) > 0.5 for box in ignored)]
    taken: set[int] = set()
    matches = 0
    for word in wanted:
        for number, other in enumerate(counted):
            if number not in taken and box_overlap(other.box, word.box) > 0.5:
                taken.add(number)
                matches += _same_text(_unquoted(word.text), _unquoted(other.text))
                break
    return 2 * matches / (len(wanted) + len(counted)) if matches else 0.0


def _share_within(box: Sequence[int], other: Sequence[int]) -> float:
    """The share of a box that lies within another."""
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(0, width) * max(0, height) / area


def _unquoted(text: str) -> str:
    r"""A text without the double quotes around it, and without the strokes before those within.

    >>> _unquoted('"say \\"hi\\""')
    'say "hi"'
    """
    match = _QUOTED.match(text.replace("\r", ""))
    return match[1].replace("\\\\", "\\").replace('\\"', '"') if match else text.replace("\r", "")


def _same_text(right: str, said: str) -> bool:
    right, said = right.upper(), said.upper()
    starts = {0, 1} if right[:1] and right[0] in _MARKS else {0}
    ends = {0, 1} if right[-1:] and right[-1] in _MARKS else {0}
    return any(said == right[start : len(right) - end] for start in starts for end in ends)

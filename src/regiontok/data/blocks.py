"""Questions about one picture as independent blocks of one row, which share the picture.

A conversation's turns see each other: a second answer may lean on the first question. Questions
that have nothing to do with one another need not, and as rows of their own each would read the
picture again.

After: nothing published that is known to us; row packing without cross-contamination (Krell et al.
2021, arXiv:2107.02027), with a common beginning.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from regiontok.data.record import IMAGE, Turn
from regiontok.model.splice import IGNORE

SHARED = -1  # the block of what all blocks of a row see


class BlockRow(NamedTuple):
    """The ids of a row.

    Attributes:
        ids: ids with one placeholder a picture.
        labels: as many labels; `IGNORE` where nothing is supervised.
        blocks: the block of each id, `SHARED` for the common beginning; empty where the row is one
            conversation.
    """

    ids: list[int]
    labels: list[int]
    blocks: list[int]


def independent_questions(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Each question of a conversation with its answer, as a conversation of its own.

    Pictures have to stand at the beginning of the first question; each gets them. A conversation of
    another form stays whole.

    Args:
        turns: system turns, if any, then questions and answers in turn.

    >>> turns = [Turn("user", "<image>\\nA?"), Turn("assistant", "a")]
    >>> turns += [Turn("user", "B?"), Turn("assistant", "b")]
    >>> [rows[0].text for rows in independent_questions(turns)]
    ['<image>\\nA?', '<image>\\nB?']
    """
    first = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
    system, talk = list(turns[:first]), turns[first:]
    alternates = [turn.role for turn in talk] == ["user", "assistant"] * (len(talk) // 2)
    if not alternates or len(talk) < 4 or any(IMAGE in turn.text for turn in turns[first + 1 :]):
        return [list(turns)]
    opening = talk[0].text
    stop = opening.rfind(IMAGE) + len(IMAGE) if IMAGE in opening else 0
    pictures = opening[:stop] + "\n" * opening[stop:].startswith("\n")
    if pictures.replace(IMAGE, "").strip():
        return [list(turns)]
    asked = [opening.removeprefix(pictures), *(turn.text for turn in talk[2::2])]
    return [
        [*system, Turn("user", pictures + text), answer]
        for text, answer in zip(asked, talk[1::2], strict=True)
    ]


def block_row(
    turns: Sequence[Turn], label: Callable[[Sequence[Turn]], tuple[list[int], list[int]]]
) -> BlockRow:
    """A conversation's questions as blocks behind the beginning that all of them have in common.

    A block and the beginning together are the ids of that question alone.

    Args:
        turns: the conversation.
        label: a function from a conversation to its ids and labels.

    Raises:
        RecordError: If a question cannot be labelled.
    """
    rows = [label(question) for question in independent_questions(turns)]
    if len(rows) == 1:
        return BlockRow(*rows[0], [])
    common = _common(rows)
    ids, labels = list(rows[0][0][:common]), [IGNORE] * common
    blocks = [SHARED] * common
    for number, (row_ids, row_labels) in enumerate(rows):
        ids += row_ids[common:]
        labels += row_labels[common:]
        blocks += [number] * (len(row_ids) - common)
    return BlockRow(ids, labels, blocks)


def _common(rows: Sequence[tuple[list[int], list[int]]]) -> int:
    """How many ids all rows begin with.

    At least one id of each row stays behind it before what is supervised: a supervised id is
    predicted from the one before it, which has to be of its own block.
    """
    most = min(
        min((place for place, label in enumerate(labels) if label != IGNORE), default=len(ids))
        for ids, labels in rows
    )
    common = 0
    while common < most - 1 and len({ids[common] for ids, _ in rows}) == 1:
        common += 1
    return common

"""Questions that ask which caption describes a picture, and where the right one stands."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

from regiontok.evaluation.sample import Array, Sample

Order = Literal["published", "rotated"]
ORDERS = ("published", "rotated")


def ordered(right: str, wrong: Sequence[str], number: int, order: str) -> tuple[list[str], str]:
    """The captions in the order in which they are asked, and the letter of the right one.

    Args:
        right: the caption that describes the picture.
        wrong: the others.
        number: number of the question, by which the right place goes round.
        order: "published" puts the right caption second, always, as OG-LLaVA's evaluation code
            does; "rotated" puts it in each place equally often.

    >>> ordered("yes", ["no", "never"], 0, "published")
    (['no', 'yes', 'never'], 'B')
    >>> [ordered("yes", ["no"], number, "rotated")[1] for number in range(4)]
    ['A', 'B', 'A', 'B']
    """
    place = 1 if order == "published" else number % (len(wrong) + 1)
    captions = [*wrong[:place], right, *wrong[place:]]
    return captions, ascii_uppercase[place]


def by_position(sample: Sample, prefix: str) -> dict[str, Array]:
    """The share of right answers where the right caption is A, B, ... in percent."""
    return {
        f"{prefix}_right_at_{letter.lower()}": sample.share("right", "position", letter)
        for letter in sorted(sample.values("position"))
    }

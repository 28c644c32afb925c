"""How many masks SAM's everything-mode makes: the study's settings (row D3), and the search among
them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Level(NamedTuple):
    """Prompts a side of the picture, and what a mask must exceed to be kept."""

    points: int
    iou: float
    stability: float


@dataclass(frozen=True)
class Search:
    """Levels from coarse to fine, where the search starts, and the numbers of masks it is content
    with.

    Too many masks: the next coarser level; too few: the next finer one. At either end the end's
    masks are the result, whatever their number: the bounds are soft. No level is decoded twice.
    Where the search would turn back (the middle level has too few masks, the fine one too many),
    the one of the two whose number is off by the smaller factor is the result, the coarser one if
    they are equal; the paper does not say what it does there.

    >>> search = SEARCHES["study"]
    >>> search.after({1: 200}), search.after({1: 200, 0: 170}), search.after({1: 120})
    (0, None, None)
    >>> search.chosen({1: 79, 2: 400}), search.chosen({1: 20, 2: 161})
    (1, 2)
    """

    levels: tuple[Level, ...]
    start: int = 0
    bounds: tuple[int, float] = (0, math.inf)

    def after(self, counts: Mapping[int, int]) -> int | None:
        """The level to decode next, from the masks found at each level so far, in the order they
        were tried; None: it is over."""
        level = self._next(counts)
        return level if 0 <= level < len(self.levels) and level not in counts else None

    def chosen(self, counts: Mapping[int, int]) -> int:
        """The level whose masks are the result of a search that is over."""
        last, turned = list(counts)[-1], self._next(counts)
        return (
            min((last, turned), key=lambda level: (self._factor(counts[level]), level))
            if turned in counts
            else last
        )

    def _next(self, counts: Mapping[int, int]) -> int:
        last, found = list(counts.items())[-1]
        return last + int(found < self.bounds[0]) - int(found > self.bounds[1])

    def _factor(self, found: int) -> float:
        low, high = self.bounds
        return max(found / high, low / found if found else math.inf)


_STUDY = (Level(48, 0.6, 0.92), Level(64, 0.5, 0.90), Level(96, 0.4, 0.85))
SEARCHES = {
    "study": Search(_STUDY, start=1, bounds=(80, 160)),
    "study2": Search(_STUDY[:2], start=1, bounds=(64, 160)),
    "coarse": Search(_STUDY[:1]),
    "medium": Search(_STUDY[1:2]),
    "fine": Search(_STUDY[2:]),
    "fast": Search((Level(24, 0.5, 0.9),)),
}

"""How many masks SAM's everything-mode makes: the study's settings (row D3) and their search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Level(NamedTuple):
    """How many prompts cover the picture, and what a mask must exceed to be kept.

    Attributes:
        points: prompts a side of the picture.
        iou: bound of the model's own estimate of a mask's IoU.
        stability: bound of the mask's stability.
    """

    points: int
    iou: float
    stability: float


@dataclass(frozen=True)
class Search:
    """Levels from coarse to fine, and how a level is chosen by the number of masks it gives.

    Too many masks lead to the next coarser level, too few to the next finer one. At either end the
    end's masks are the result, whatever their number: the bounds are soft. No level is decoded
    twice. Where the search would turn back (the middle level has too few masks, the fine one too
    many), the one of the two whose number is off by the smaller factor is the result, the coarser
    one if they are equal; the paper does not say what it does there.

    Attributes:
        levels: the settings, from coarse to fine.
        start: index of the level that is tried first.
        bounds: the smallest and the largest number of masks that ends the search.

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
        """The level to decode next; None if the search is over.

        Args:
            counts: masks of each level that was tried, in the order of the trials.
        """
        level = self._next(counts)
        return level if 0 <= level < len(self.levels) and level not in counts else None

    def chosen(self, counts: Mapping[int, int]) -> int:
        """The level whose masks are the result of a search that is over."""
        last, following = list(counts)[-1], self._next(counts)
        if following not in counts:
            return last
        return min((last, following), key=lambda level: (self._factor_off(counts[level]), level))

    def _next(self, counts: Mapping[int, int]) -> int:
        """The level that the last count leads to, were there no end and no level tried before."""
        level, count = list(counts.items())[-1]
        fewest, most = self.bounds
        return level + int(count < fewest) - int(count > most)

    def _factor_off(self, count: int) -> float:
        fewest, most = self.bounds
        return max(count / most, fewest / count if count else math.inf)


_STUDY = (Level(48, 0.6, 0.92), Level(64, 0.5, 0.90), Level(96, 0.4, 0.85))
SEARCHES = {
    "study": Search(_STUDY, start=1, bounds=(80, 160)),
    "study2": Search(_STUDY[:2], start=1, bounds=(64, 160)),
    "coarse": Search(_STUDY[:1]),
    "medium": Search(_STUDY[1:2]),
    "fine": Search(_STUDY[2:]),
    "fast": Search((Level(24, 0.5, 0.9),)),
}

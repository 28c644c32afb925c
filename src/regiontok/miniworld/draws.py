"""Draws: choices that are made by numbers in [0, 1), drawn before.

NumPy's own choices may change from version to version (NEP 19); its uniform numbers do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Item = TypeVar("_Item")


class Draws:
    """Choices by the numbers of an array, one after the other.

    Args:
        numbers: `[n]` numbers in [0, 1).

    Raises:
        IndexError: When more is drawn than there are numbers.

    >>> draws = Draws(np.array([0.0, 0.9, 0.5]))
    >>> draws.pick("abc"), draws.index(10), draws.coin()
    ('a', 9, False)
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers: list[float] = numbers.tolist()
        self._next = 0

    def number(self) -> float:
        """The next number."""
        self._next += 1
        return self._numbers[self._next - 1]

    def index(self, count: int) -> int:
        """One of 0 to count - 1."""
        return int(self.number() * count)

    def coin(self) -> bool:
        """True or False."""
        return self.number() < 0.5

    def pick(self, items: Sequence[_Item]) -> _Item:
        """One of the items."""
        return items[self.index(len(items))]

    def shuffled(self, items: Sequence[_Item]) -> list[_Item]:
        """The items in another order; draws as many numbers as there are items."""
        left = list(items)
        return [left.pop(self.index(len(left))) for _ in range(len(left))]

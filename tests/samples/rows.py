"""Rows of training records, packed or not."""

from __future__ import annotations

from collections.abc import Iterable


def flat(rows: Iterable[int | tuple[int, ...]]) -> list[int]:
    """The records of all rows, one after the other.

    >>> flat([(3, 1), 2])
    [3, 1, 2]
    """
    return [record for row in rows for record in (row if isinstance(row, tuple) else (row,))]

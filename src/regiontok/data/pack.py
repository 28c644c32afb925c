"""Samples into rows of limited length: first-fit-decreasing, or one after the other; none is cut.

After: first-fit-decreasing bin packing (Johnson 1973: at most 11/9 of the best number of rows, and
6/9 of one); used for training rows by Krell et al. 2021, arXiv:2107.02027.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


def pack(
    lengths: Sequence[int] | np.ndarray,
    most: int,
    *,
    how: Literal["decreasing", "sequential"] = "decreasing",
) -> list[list[int]]:
    """Pack samples into rows of at most `most` tokens.

    Args:
        lengths: tokens of each sample.
        most: tokens of a row at most.
        how: "decreasing" places the longest samples first; "sequential" keeps their order.

    Returns:
        Rows of indices into `lengths`; a row's samples in ascending order.

    Raises:
        ValueError: If a sample is longer than a row: it is never cut.

    >>> pack([5, 9, 4, 1], 10), pack([5, 9, 4, 1], 10, how="sequential")
    ([[1, 3], [0, 2]], [[0], [1], [2, 3]])
    """
    sizes = [int(length) for length in lengths]
    if sizes and max(sizes) > most:
        longest = int(np.argmax(sizes))
        raise ValueError(
            f"sample {longest} has {sizes[longest]} tokens, a row at most {most}: "
            "samples are never cut"
        )
    rows = _sequential(sizes, most) if how == "sequential" else _decreasing(sizes, most)
    return [sorted(row) for row in rows]


def _sequential(sizes: list[int], most: int) -> list[list[int]]:
    rows: list[list[int]] = []
    free = -1
    for sample, size in enumerate(sizes):
        if not rows or size > free:
            rows.append([])
            free = most
        rows[-1].append(sample)
        free -= size
    return rows


def _decreasing(sizes: list[int], most: int) -> list[list[int]]:
    """First fit by a tree of maxima over the free tokens of the rows.

    It takes log n a sample, where trying every row would take n.
    """
    leaves = 1 << max(len(sizes) - 1, 0).bit_length()
    free = [most] * (2 * leaves)
    rows: list[list[int]] = [[] for _ in sizes]
    for sample in sorted(range(len(sizes)), key=lambda sample: (-sizes[sample], sample)):
        node = 1
        while node < leaves:
            node = 2 * node if free[2 * node] >= sizes[sample] else 2 * node + 1
        rows[node - leaves].append(sample)
        free[node] -= sizes[sample]
        while node > 1:
            node //= 2
            free[node] = max(free[2 * node], free[2 * node + 1])
    return [row for row in rows if row]

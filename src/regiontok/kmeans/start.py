"""The first centres: random rows, no two of them equal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from regiontok.kmeans.rows import Rows
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt64

BATCH = 1 << 14


class TooFewDistinctRows(RegiontokError, ValueError):
    """There are fewer distinct rows than centres.

    Attributes:
        distinct: how many distinct rows there are.
    """

    def __init__(self, rows: int, distinct: int, k: int) -> None:
        super().__init__(
            f"{rows} rows, {distinct} of them distinct, do not make {k} clusters: set k to "
            f"{distinct} at most, or give more rows"
        )
        self.distinct = distinct


def random_rows(rows: Rows, k: int, seed: int | Sequence[int]) -> Float[np.ndarray, "k d"]:
    """`k` distinct rows, drawn at random.

    Raises:
        TooFewDistinctRows: If there are not so many.

    >>> from regiontok.kmeans.rows import ArrayRows
    >>> rows = ArrayRows(np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32))
    >>> sorted(random_rows(rows, 2, seed=0).tolist())
    [[0.0, 1.0], [1.0, 0.0]]
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    seen: set[int] = set()
    chosen: list[np.ndarray] = []
    step = min(BATCH, max(1024, k))
    for start in range(0, len(order), step):
        table = rows.take(order[start : start + step])
        for row, digest in zip(table, digests(table).tolist(), strict=True):
            if digest not in seen:
                seen.add(digest)
                chosen.append(row)
                if len(chosen) == k:
                    return np.stack(chosen)
    raise TooFewDistinctRows(len(rows), len(seen), k)


def digests(rows: Float[np.ndarray, "n d"]) -> UInt64[np.ndarray, "n"]:
    """A number for each row, which only equal rows share (but for one chance in 2^64 a pair)."""
    plain = rows + np.float32(0)  # -0 equals 0
    texts = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in plain]
    return np.frombuffer(b"".join(texts), np.uint64)

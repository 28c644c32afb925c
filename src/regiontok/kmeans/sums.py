"""Sums of rows by centre, in whole numbers: they add up to the same in any order.

A value counts as the nearest multiple of 2^-24, and 2^63 of these hold two billion unit vectors.
Sums of any number of processes, in any order, give the same centroids, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import Rows
from regiontok.system.compiled import compiled
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ONE = 1 << 24


class TooLarge(RegiontokError, ValueError):
    """Rows whose sums whole numbers of 64 bits do not hold."""


@dataclass(eq=False)
class Sums:
    """What an iteration adds up.

    Attributes:
        values: `[K d]` int64 sums of rows, in multiples of 2^-24.
        counts: `[K]` int64 rows of each centre.
        squares: `[K]` int64 sums of squared distances, in multiples of 2^-24.
    """

    values: Int[np.ndarray, "K d"]
    counts: Int[np.ndarray, "K"]
    squares: Int[np.ndarray, "K"]

    @classmethod
    def zero(cls, k: int, width: int) -> Sums:
        """Nothing yet."""
        return cls(np.zeros((k, width), np.int64), np.zeros(k, np.int64), np.zeros(k, np.int64))

    @property
    def tables(self) -> tuple[np.ndarray, ...]:
        """The three tables, each of which adds up by itself."""
        return self.values, self.counts, self.squares

    @property
    def inertia(self) -> float:
        """The mean squared distance of a row from its centre."""
        return float(self.squares.sum(dtype=np.float64)) / ONE / max(int(self.counts.sum()), 1)

    def add(self, other: Sums) -> None:
        """Add what another process has summed."""
        for table, more in zip(self.tables, other.tables, strict=True):
            table += more

    def add_rows(
        self,
        rows: Float[np.ndarray, "n d"],
        ids: Int[np.ndarray, "n"],
        squares: Float[np.ndarray, "n"],
    ) -> None:
        """Add rows to the centres they belong to.

        Raises:
            TooLarge: If a value is 2^10 or more: the sums of two billion would be in danger.
        """
        if max(np.abs(rows).max(initial=0), squares.max(initial=0)) >= 1 << 10:
            raise TooLarge(
                "expected rows with values below 1,024, as unit vectors have: scale them"
            )
        _add_rows(rows, ids, squares, self.values, self.counts, self.squares)

    def means(self) -> Float[np.ndarray, "K d"]:
        """The mean of each centre's rows, float32; 0 where there are none."""
        counts = np.maximum(self.counts, 1)[:, None] * float(ONE)
        return (self.values / counts).astype(np.float32)


def sum_part(rows: Rows, number: int, nearest: NearestCentres, sums: Sums) -> None:
    """Assign the rows of a part and add them up."""
    part = rows.read(number)
    assigned = nearest(torch.from_numpy(part))
    sums.add_rows(part, assigned.ids[:, 0], assigned.squares[:, 0])


@compiled()
def _add_rows(rows, ids, squares, values, counts, sums_of_squares) -> None:
    for row in range(len(rows)):
        centre = ids[row]
        counts[centre] += 1
        sums_of_squares[centre] += np.int64(np.rint(squares[row] * ONE))
        of_centre, of_row = values[centre], rows[row]
        for column in range(len(of_row)):
            of_centre[column] += np.int64(np.rint(np.float64(of_row[column]) * ONE))

"""The rows that are clustered, cut into parts that do not depend on who reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PART = 1 << 14


class Rows(ABC):
    """Rows by number; worker processes get it, so that it must be small, or in this process.

    Attributes:
        part: rows of a part, the unit of work.
    """

    part: int

    @property
    @abstractmethod
    def table(self) -> np.ndarray:
        """`[n d]` the rows as they are stored."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def width(self) -> int:
        """Values of a row."""
        return int(self.table.shape[1])

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-len(self) // self.part)

    def read(self, number: int) -> Float[np.ndarray, "n d"]:
        """The rows of a part, float32."""
        return self._float32(self.table[number * self.part : (number + 1) * self.part])

    def take(self, numbers: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n d"]:
        """Rows by number, float32."""
        return self._float32(self.table[numbers])

    def __iter__(self) -> Iterator[Float[np.ndarray, "n d"]]:
        return (self.read(number) for number in range(self.parts))

    def _float32(self, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
        return np.ascontiguousarray(rows, np.float32)


@dataclass(frozen=True, eq=False)
class ArrayRows(Rows):
    """Rows in memory.

    Attributes:
        values: `[n d]` the rows.
        part: rows of a part.
    """

    values: np.ndarray
    part: int = PART

    @property
    def table(self) -> np.ndarray:
        """The rows."""
        return self.values


@dataclass(frozen=True)
class UnitRowFile(Rows):
    """Rows of a .npy file, which are read where they are needed, and made unit there.

    Attributes:
        path: the file, `[n d]`.
        part: rows of a part.
    """

    path: Path
    part: int = PART

    @cached_property
    def table(self) -> np.ndarray:
        """The file, mapped into memory."""
        table: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return table

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "part": self.part}  # a process maps the file by itself

    def _float32(self, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
        return unit(rows)


def unit(rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Rows of length 1 in float32; a row of zeros stays one.

    >>> unit(np.array([[3, 4], [0, 0]], np.float16)).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0).astype(np.float32)

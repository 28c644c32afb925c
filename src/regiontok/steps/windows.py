"""Windows that tile the grid: bands of the raster, or true 2-D windows.

After: OG-LLaVA, section 5.4.4, figure 12 (row O9: k disjoint windows that tile the grid, k = 1, 5, 10; with pool `select` all V rows are
kept in window order).
Differs: the paper does not say how 576 patches are cut into 5 or 10: bands cut the raster as evenly as possible, which need not be
whole rows; `shape="grid"` takes the factorisation of k whose windows are most nearly square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions


@dataclass(frozen=True)
class Windows:
    """`k` windows over the valid patches of one view; a source: it stands first in a spec.

    Raises:
        ValueError: k below 1, above the number of patches, or (for `grid`) without a factorisation that fits the grid.
    """

    k: int
    shape: Literal["bands", "grid"] = "bands"
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one window, got k={self.k}")

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Tile one view; the regions that come in are replaced."""
        valid = grid.valid
        count = int(valid.sum())
        if self.k > count:
            raise ValueError(f"cannot cut {count} patches into {self.k} windows")
        labels = self._bands(valid, count) if self.shape == "bands" else self._grid(valid)
        return Regions.from_labels(labels)

    def _bands(self, valid: Tensor, count: int) -> Tensor:
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[valid] = torch.arange(count, device=valid.device) * self.k // count
        return labels

    def _grid(self, valid: Tensor) -> Tensor:
        if valid.ndim != 2:
            raise ValueError("2-D windows need a grid (h, w); use shape='bands' for a clip")
        seen = valid.nonzero()
        low, high = seen.min(0).values, seen.max(0).values + 1
        h, w = (high - low).tolist()
        down, across = _most_square(self.k, h, w)
        rows = torch.arange(h, device=valid.device) * down // h
        cols = torch.arange(w, device=valid.device) * across // w
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[low[0] : high[0], low[1] : high[1]] = rows[:, None] * across + cols[None, :]
        return labels


def _most_square(k: int, h: int, w: int) -> tuple[int, int]:
    """(down, across) with down * across = k whose windows of an h x w grid are most nearly square."""
    pairs = [(a, k // a) for a in range(1, k + 1) if k % a == 0 and a <= h and k // a <= w]
    if not pairs:
        raise ValueError(f"{k} windows do not tile a {h} x {w} grid; take another k or shape='bands'")
    return min(pairs, key=lambda pair: abs(math.log((h / pair[0]) / (w / pair[1]))))

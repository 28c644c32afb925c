"""Windows that tile the grid: bands of the raster, 2-D windows, or the blocks of grid pooling.

After: OG-LLaVA, section 5.4.4, figure 12 (row O9: k disjoint windows that tile the grid, k = 1, 5,
10; with pool `select` all V rows are kept in window order). With pool `mean`, `shape="photo"` is
grid pooling, the baseline that every token reducer is held against.
Differs: the paper does not say how 576 patches are cut into 5 or 10: bands cut the raster as evenly
as possible, which need not be whole rows; `shape="grid"` takes the factorisation of k whose windows
are most nearly square in patches; `shape="photo"` the one whose blocks are most nearly square in
pixels of the photo, and where k has none that fits the nearest k that has (its count is the number
of regions). Nearest means nearest: 23 blocks are 1 x 23 stripes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._tiling import cut, on_photo, seen


@dataclass(frozen=True)
class Windows(RegionStep):
    """`k` windows over the valid patches of one view; a source: it stands first in a spec.

    Raises:
        ValueError: k below 1, above the number of patches, or (for `grid`) without a factorisation
            that fits the grid.
    """

    k: int
    shape: Literal["bands", "grid", "photo"] = "bands"
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one window, got k={self.k}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return None if self.shape == "photo" else self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Tile one view; the regions that come in are replaced."""
        valid = grid.valid
        count = int(valid.sum())
        if self.k > count:
            raise ValueError(f"cannot cut {count} patches into {self.k} windows")
        labels = self._bands(valid, count) if self.shape == "bands" else self._grid(valid, grid)
        return Regions.from_labels(labels)

    def _bands(self, valid: Tensor, count: int) -> Tensor:
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[valid] = torch.arange(count, device=valid.device) * self.k // count
        return labels

    def _grid(self, valid: Tensor, grid: PatchGrid) -> Tensor:
        if valid.ndim != 2:
            raise ValueError("2-D windows need a grid (h, w); use shape='bands' for a clip")
        box = seen(valid)
        h, w = (side.stop - side.start for side in box)
        down, across = cut(self.k, h, w, on_photo(grid) if self.shape == "photo" else 1.0)
        if self.shape == "grid" and down * across != self.k:
            raise ValueError(
                f"{self.k} windows do not tile a {h} x {w} grid; take another k, shape='bands' or shape='photo'"
            )
        rows = torch.arange(h, device=valid.device) * down // h
        cols = torch.arange(w, device=valid.device) * across // w
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[box] = rows[:, None] * across + cols[None, :]
        return labels

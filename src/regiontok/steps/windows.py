"""Windows that tile the grid: bands of the raster, 2-D windows, or the blocks of grid pooling.

After: OG-LLaVA, section 5.4.4, figure 12 (row O9: k disjoint windows that tile the grid, k = 1, 5,
10; with the pool `select` all V rows are kept, in window order). With the pool `mean`,
`shape="photo"` is grid pooling, the baseline that every token reducer is compared with.
Differs: the paper does not say how 576 patches are cut into 5 or 10: "bands" cut the raster as
evenly as possible, and need not be whole rows; "grid" takes the factorisation of k whose windows
are most nearly square in patches; "photo" takes the one whose blocks are most nearly square in
pixels of the photo, and if no factorisation of k fits the grid, one of the nearest number that has
one. Nearest means nearest: 23 blocks are 1 x 23 stripes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._tiling import nearest_tiling, patch_aspect, valid_box

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


@dataclass(frozen=True)
class Windows(RegionStep):
    """`k` windows over the valid patches of a view; a source, so it stands first in a spec.

    Attributes:
        k: number of windows; "photo" takes the nearest possible one.
        shape: "bands" of the raster, windows on the "grid", or blocks on the "photo".

    Raises:
        ValueError: If k is below 1 or above the number of patches, if "grid" has no factorisation
            of k that fits the grid, or if "grid" or "photo" meets a clip.
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
        if self.shape == "bands":
            return Regions.from_labels(self._bands(valid, count))
        return Regions.from_labels(self._windows(valid, grid))

    def _bands(self, valid: Bool[Tensor, "*grid"], count: int) -> Int[Tensor, "*grid"]:
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[valid] = torch.arange(count, device=valid.device) * self.k // count
        return labels

    def _windows(self, valid: Bool[Tensor, "h w"], grid: PatchGrid) -> Int[Tensor, "h w"]:
        if valid.ndim != 2:
            raise ValueError("2-D windows need a grid (h, w); use shape='bands' for a clip")
        box = valid_box(valid)
        h, w = (side.stop - side.start for side in box)
        aspect = patch_aspect(grid) if self.shape == "photo" else 1.0
        down, across = nearest_tiling(self.k, h, w, aspect)
        if self.shape == "grid" and down * across != self.k:
            raise ValueError(
                f"{self.k} windows do not tile a {h} x {w} grid; take another k, shape='bands' or "
                "shape='photo'"
            )
        rows = torch.arange(h, device=valid.device) * down // h
        columns = torch.arange(w, device=valid.device) * across // w
        labels = torch.full(valid.shape, -1, dtype=torch.int64, device=valid.device)
        labels[box] = rows[:, None] * across + columns[None, :]
        return labels

"""The order in which regions reach the language model: centre of mass, raster, random or area.

After: diagnostic study, section 3.3 (row D10: sorted by centre of mass in scanline order; random order as the ablation).
Differs: "scanline order" of centres is not defined there: lexicographic (y, x) of the float centroid, ties by first patch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions


@dataclass(frozen=True)
class Sort:
    """Reorder the regions of one view.

    Attributes:
        order: `com` centre of mass, (y, x) or (t, y, x); `raster` first patch; `random`; `area` largest first. Ties by first patch.
        seed: of `random`, which draws from (seed, the image's key, the epoch): no two images share an order because they happen to
            have equally many regions.
    """

    order: Literal["com", "raster", "random", "area"] = "com"
    seed: int = 0
    version: ClassVar[int] = 1

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Sort one view."""
        if not len(regions):
            return regions
        first = regions.patch[regions.starts].cpu().numpy()
        if self.order == "random":
            digest = hashlib.sha256(f"{self.seed} {grid.key} {grid.draw}".encode()).digest()
            order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(regions))
        elif self.order == "com":
            order = np.lexsort((first, *regions.centroids.cpu().numpy().T[::-1]))
        elif self.order == "area":
            order = np.lexsort((first, -regions.sizes.cpu().numpy()))
        else:
            order = np.argsort(first, kind="stable")
        return regions.take(torch.from_numpy(order))

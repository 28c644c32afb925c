"""Order the regions for the language model: centre of mass, raster, random, area or mask score.

After: diagnostic study, section 3.3 (row D10: sorted by centre of mass in scanline order; random
order as the ablation). OG-LLaVA (row O2) names no order of its masks: its release reads them by the
text of their file names (mask_0, mask_1, mask_10, ...).
Differs: "scanline order" of centres is not defined there; here it is the lexicographic order (y, x)
of the float centroids, ties by first patch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Sort(RegionStep):
    """Reorder the regions of one view.

    Attributes:
        order: "com" sorts by centre of mass, (y, x) or (t, y, x); "raster" by first patch; "random"
            shuffles; "area" puts regions of most patches first; "score" puts the segmenter's
            highest score first and regions of no mask last. Ties go by first patch, and equal first
            patches by the order in which the regions came in.
        seed: seed of "random", which draws from (seed, the image's key, the epoch): no two images
            share an order because they happen to have equally many regions.

    Raises:
        ValueError: If "score" meets a view without masks, or masks without scores.
    """

    order: Literal["com", "raster", "random", "area", "score"] = "com"
    seed: int = 0
    version: ClassVar[int] = 1
    keeps_count: ClassVar[bool] = True

    @property
    def reads_masks(self) -> bool:
        """True if it sorts by the segmenter's scores."""
        return self.order == "score"

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Sort one view."""
        if not len(regions):
            return regions
        first = regions.patch[regions.starts].cpu().numpy()
        if self.order == "random":
            order = self.generator(grid).permutation(len(regions))
        elif self.order == "com":
            order = np.lexsort((first, *regions.centroids.cpu().numpy().T[::-1]))
        elif self.order == "area":
            order = np.lexsort((first, -regions.sizes.cpu().numpy()))
        elif self.order == "score":
            order = np.lexsort((first, -mask_scores(grid)[regions.source.cpu().numpy()]))
        else:
            order = np.argsort(first, kind="stable")
        return regions.take(torch.from_numpy(order))

    def generator(self, grid: PatchGrid) -> np.random.Generator:
        """What "random" draws from at a view: the same for any number of regions."""
        digest = hashlib.sha256(f"{self.seed} {grid.identity} {grid.draw}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def mask_scores(grid: PatchGrid) -> Float[np.ndarray, "masks+1"]:
    """The score of each mask of a view, -inf for NaN; the last one is that of source -1, -inf.

    Raises:
        ValueError: If the view has no masks, or masks without scores.
    """
    if grid.masks is None or grid.masks.scores is None:
        raise ValueError(
            "sort('score') needs masks with scores, and these have none: take a segmenter that "
            "scores its masks (sam)"
        )
    scores: Float[np.ndarray, "masks+1"] = np.nan_to_num(
        np.r_[grid.masks.scores, -np.inf], nan=-np.inf, neginf=-np.inf, posinf=np.inf
    )
    return scores

"""Leave regions out: small ones, or those with the same patches as an earlier one.

After: UnSAM's own merging drops regions under 4 patches by default; identical patch masks after
down-sampling are an open point of the diagnostic study (row D4).
Differs: nothing is dropped unless asked for; both are said and tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep


@dataclass(frozen=True)
class Drop(RegionStep):
    """Drop regions of one view.

    Attributes:
        below: drop regions of fewer patches.
        duplicates: drop a region whose patches are exactly those of an earlier one.

    Raises:
        ValueError: settings under which nothing could ever be dropped.
    """

    below: int = 1
    duplicates: bool = False
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.below < 1 or (self.below == 1 and not self.duplicates):
            raise ValueError("says nothing to drop: give below=2 or more, or duplicates=True")

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Drop in one view."""
        keep = regions.sizes >= self.below
        if self.duplicates:
            seen: set[bytes] = set()
            patches = regions.patch.cpu().split(regions.sizes.tolist())
            for index, own in enumerate(patches):
                code = own.numpy().tobytes()
                keep[index] &= code not in seen
                seen.add(code)
        return regions.take(torch.nonzero(keep)[:, 0])

"""Leave regions out: small ones, or those with the same patches as an earlier one.

After: UnSAM's own merging drops regions under 4 patches by default; identical patch masks after
down-sampling are an open point of the diagnostic study (row D4).
Differs: nothing is dropped unless the spec says so.
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
        below: regions with fewer patches than this are dropped.
        duplicates: True drops a region whose patches are exactly those of an earlier one.

    Raises:
        ValueError: If nothing could ever be dropped with these settings.
    """

    below: int = 1
    duplicates: bool = False
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.below < 1 or (self.below == 1 and not self.duplicates):
            raise ValueError("says nothing to drop: give below=2 or more, or duplicates=True")

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Drop regions of one view."""
        stays = regions.sizes >= self.below
        if self.duplicates:
            known: set[bytes] = set()
            for index, patches in enumerate(regions.patch.cpu().split(regions.sizes.tolist())):
                code = patches.numpy().tobytes()
                stays[index] &= code not in known
                known.add(code)
        return regions.take(torch.nonzero(stays)[:, 0])

"""Regions from the segmenter's masks: a patch belongs to every mask that covers enough of it.

After: diagnostic study, appendix E.1 and E.2 (row D4: average-pooled overlap > 0.07), and OG-LLaVA,
section 5.1.1 (row O1: at least alpha = 0.5 pixels in a run of the flattened mask). D4 is
`segments(0.07)`; O1 as published is `segments(0.5, mapping='flat1d', unit='pixels', compare='>=')`;
with `mapping='grid2d'` that is O1 aligned with the encoder's patches.
Differs: overlap is exact area overlap (see `Frame.to_grid`), and what the papers leave open is
decided: masks that vanish are dropped (`vanished='best'` keeps them at the patch they cover most),
overlaps are kept (`resolve='smallest'` gives a patch to the smallest mask, so that a mask may
vanish after all). Runs of `flat1d` are no patches: under a letterbox they are the published ones
only with `padding="keep"`, since `"drop"` leaves out what is padding on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Segments(RegionStep):
    """Regions from masks; a source, so it stands first in a spec, and it needs a segmenter.

    Attributes:
        threshold: how much of a patch a mask must cover.
        mapping: "grid2d" goes by the patch's own footprint, "flat1d" by runs of the flattened mask,
            as OG-LLaVA published it.
        unit: unit of the threshold: "share" of the patch's area, or "pixels" of the image in it.
        compare: ">" (D4) or ">=" (O1).
        resolve: None keeps overlaps; "smallest" makes regions disjoint: a patch goes to the mask
            with the fewest pixels.
        vanished: "drop" leaves out a mask that reaches the threshold nowhere, "best" keeps it at
            the patch that it covers most.
        unmasked: what an image gives in which the segmenter has found no mask at all: "nothing", or
            "patches", every patch by itself, as OG-LLaVA's release does (row O2: all V rows).

    Raises:
        ValueError: If the view has no masks, masks of another size than the image, or the grid of a
            clip.
    """

    threshold: float = 0.07
    mapping: Literal["grid2d", "flat1d"] = "grid2d"
    unit: Literal["share", "pixels"] = "share"
    compare: Literal[">", ">="] = ">"
    resolve: Literal["smallest"] | None = None
    vanished: Literal["drop", "best"] = "drop"
    unmasked: Literal["nothing", "patches"] = "nothing"
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True
    reads_masks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threshold < 0 or (self.unit == "share" and self.threshold > 1):
            raise ValueError(
                f"threshold {self.threshold} lies outside [0, 1]; for pixel counts say "
                "unit='pixels'"
            )
        if self.threshold == 0 and self.compare == ">=":
            raise ValueError(
                "threshold 0 with '>=' gives every patch to every mask; use compare='>'"
            )

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """The regions of one view; those that come in are replaced.

        The `source` of a region is the index of its mask.
        """
        if grid.masks is None:
            raise ValueError(
                "segments needs pixel masks, and there is no segmenter: name one, say "
                "segmenter='felzenszwalb'"
            )
        if len(grid.grid) != 2:
            raise ValueError(f"segments needs a grid (h, w), got {grid.grid}")
        if not len(grid.masks) and self.unmasked == "patches":
            return Regions.singletons(grid.grid, grid.valid)
        share = grid.frame.to_grid(grid.masks, self.mapping).to(grid.features.device)
        amount = share
        if self.unit == "pixels":
            amount = share * grid.frame.pixels_per_patch(self.mapping)
        inside = (amount > self.threshold) if self.compare == ">" else (amount >= self.threshold)
        inside &= grid.valid
        if self.vanished == "best":
            inside |= _best_patch(share * grid.valid, inside)
        if self.resolve == "smallest":
            inside = _disjoint(inside, torch.from_numpy(grid.masks.areas).to(inside.device))
        return Regions.from_masks(inside)


def _best_patch(
    share: Float[Tensor, "k h w"], inside: Bool[Tensor, "k h w"]
) -> Bool[Tensor, "k h w"]:
    """For each mask without a patch the one that it covers most, if it covers any."""
    flat = share.flatten(1)
    largest, patch = flat.max(1)
    best = torch.nn.functional.one_hot(patch, flat.shape[1]).bool()
    vanished = ~inside.flatten(1).any(1) & (largest > 0)
    return (best & vanished[:, None]).view_as(inside)


def _disjoint(inside: Bool[Tensor, "k h w"], areas: Int[Tensor, "k"]) -> Bool[Tensor, "k h w"]:
    """Every patch in one mask only: the smallest that has it, and of equal ones the first."""
    order = torch.argsort(areas, stable=True)
    first = inside[order].int().cumsum(0) == 1
    disjoint = torch.empty_like(inside)
    disjoint[order] = inside[order] & first
    return disjoint

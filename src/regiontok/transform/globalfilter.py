"""Replace global patches, which resemble other regions as much as their own, by their surroundings,
for the region steps.

After: Xiao et al., "TextRegion: Text-Aligned Region Tokens from Frozen Image-Text Models", 2025
    (arXiv 2505.23769), removal of global patches: a patch's mean cosine with the regions it lies
    in, less its mean cosine with all others, is below 0.07 (their value for CLIP).
Differs: TextRegion takes such patches out of every mask before pooling; here they take the mean
    feature of the patches that stay in their surroundings, so that every patch still has a region,
    and pooled values stay as they are. Where it has SAM's masks, `windows` takes the patches around
    each patch for its region and all the rest for the others, so that no segmenter is needed; the
    patch itself does not count, which in a window of 25 would be more than half of the threshold.
    `masks` is the paper's; there a patch lies in a mask that covers at least half of it (theirs: in
    any mask that touches it after interpolation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Globalfilter(Transform):
    """Global patches become the mean of the others in their surroundings; where there is none, they
    stay.

    Attributes:
        threshold: a patch is global if (mean cosine with its own region) - (mean cosine with the
            others) is below it.
        regions: "windows" around each patch, or the segmenter's "masks".
        radius: of a window, in patches.
    """

    threshold: float = 0.07
    regions: Literal["windows", "masks"] = "windows"
    radius: int = 2
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not -2 <= self.threshold <= 2:
            raise ValueError(
                f"threshold {self.threshold} lies outside [-2, 2], where differences of cosines lie"
            )
        if self.regions not in ("windows", "masks"):
            raise ValueError(f"regions must be 'windows' or 'masks', not {self.regions!r}")
        if self.radius < 1:
            raise ValueError(f"a window has a radius of 1 patch or more, got {self.radius}")

    @property
    def reads_masks(self) -> bool:
        """True if the segmenter's masks are read."""
        return self.regions == "masks"

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame.

        Raises:
            ValueError: "masks" on a view that has none.
        """
        frames = grid.features.double().reshape(-1, *grid.features.shape[-3:])
        valid = grid.valid.reshape(-1, *grid.valid.shape[-2:])
        if self.regions == "windows":
            filled = torch.stack(
                [self._by_windows(one, seen) for one, seen in zip(frames, valid, strict=True)]
            )
        else:
            filled = torch.stack(
                [
                    self._by_masks(one, self._masks(grid) & seen)
                    for one, seen in zip(frames, valid, strict=True)
                ]
            )
        return grid.but(
            features=filled.view(grid.features.shape).to(grid.features.dtype), values=grid.pooled
        )

    def _by_windows(
        self, features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]
    ) -> Float[Tensor, "h w d"]:
        seen = valid[..., None].double()
        unit = torch.nn.functional.normalize(features, dim=-1) * seen
        around, size = self._sum(unit), self._sum(seen)
        beside, outside = (size - 1)[..., 0], (seen.sum() - size)[..., 0]
        own = (unit * (around - unit)).sum(-1) / torch.where(beside > 0, beside, torch.nan)
        rest = (unit * (unit.sum((0, 1)) - around)).sum(-1) / torch.where(
            outside > 0, outside, torch.nan
        )
        remote = valid & (own - rest < self.threshold)  # never true where one of the two is unknown
        kept = seen * ~remote[..., None]
        start = _start(features, valid)
        total, count = self._sum((features - start) * kept), self._sum(kept)
        return torch.where(
            remote[..., None] & (count > 0), start + total / count.clamp(min=1), features
        )

    def _by_masks(
        self, features: Float[Tensor, "h w d"], masks: Bool[Tensor, "k h w"]
    ) -> Float[Tensor, "h w d"]:
        member = masks[masks.any(2).any(1)].flatten(1).double()
        flat = features.flatten(0, 1)
        unit = torch.nn.functional.normalize(flat, dim=-1)
        alike = (
            member @ unit / member.sum(1, keepdim=True) @ unit.T
        )  # mean cosine of region k with patch n
        own = (alike * member).sum(0) / member.sum(0)
        rest = (alike * (1 - member)).sum(0) / (1 - member).sum(0)
        remote = own - rest < self.threshold  # a patch in no mask, or in all, has no difference
        kept = member * ~remote
        count = member.T @ kept.sum(1)
        start = _start(features, masks.any(0))
        total = member.T @ (kept @ (flat - start))
        filled = torch.where(
            (remote & (count > 0))[:, None], start + total / count.clamp(min=1)[:, None], flat
        )
        return filled.view(features.shape)

    def _sum(self, field: Float[Tensor, "h w d"]) -> Float[Tensor, "h w d"]:
        """Over the window of each patch. By integral image: differences of running sums, the same
        work for every radius."""
        for axis in (0, 1):
            running = torch.cat(
                [torch.zeros_like(field.narrow(axis, 0, 1)), field.cumsum(axis)], axis
            )
            place = torch.arange(field.shape[axis], device=field.device)
            high = (place + self.radius + 1).clamp(max=field.shape[axis])
            field = running.index_select(axis, high) - running.index_select(
                axis, (place - self.radius).clamp(min=0)
            )
        return field

    @staticmethod
    def _masks(grid: PatchGrid) -> Bool[Tensor, "k h w"]:
        if grid.masks is None:
            raise ValueError(
                "globalfilter(regions='masks') needs pixel masks: name a segmenter, or take regions='windows'"
            )
        return (grid.frame.to_grid(grid.masks) >= 0.5).to(grid.features.device)


def _start(features: Float[Tensor, "h w d"], seen: Bool[Tensor, "h w"]) -> Float[Tensor, " d"]:
    """What means are counted from: some patch of the view, so that the mean of equal patches is
    that patch to the last bit."""
    return features[seen][0] if bool(seen.any()) else torch.zeros_like(features[0, 0])

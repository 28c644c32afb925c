"""Replace global patches, which resemble other regions as much as their own, by their surroundings.

After: Xiao et al., "TextRegion: Text-Aligned Region Tokens from Frozen Image-Text Models", 2025
    (arXiv 2505.23769), removal of global patches: a patch's mean cosine with the regions it lies
    in, less its mean cosine with all others, is below 0.07 (their value for CLIP).
Differs: TextRegion takes such patches out of every mask before pooling; here they take the mean
    feature of the patches that stay in their surroundings, so that every patch still has a region,
    and pooled values stay as they are. Where it has SAM's masks, `windows` takes the patches around
    each patch for its region and all further ones for the others, so that no segmenter is needed;
    the patch itself does not count, which in a window of 25 would be more than half of the
    threshold. `masks` is the paper's; here a patch lies in a mask that covers at least half of it
    (theirs: in any mask that touches it after interpolation).
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
    """Global patches become the mean of the others in their surroundings, if there are any.

    Attributes:
        threshold: a patch is global if (mean cosine with its own region) - (mean cosine with the
            others) is below it.
        regions: "windows" around each patch, or the segmenter's "masks".
        radius: radius of a window, in patches.

    Raises:
        ValueError: If the threshold lies outside [-2, 2], the radius is below 1, or `regions` is
            neither of the two.
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
        """True if the segmenter's masks are the regions."""
        return self.regions == "masks"

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame.

        Raises:
            ValueError: If the regions are "masks" and the view has none.
        """
        frames = grid.features.double().reshape(-1, *grid.features.shape[-3:])
        valid = grid.valid.reshape(-1, *grid.valid.shape[-2:])
        filled = []
        for features, valid_patches in zip(frames, valid, strict=True):
            if self.regions == "windows":
                filled.append(self._by_windows(features, valid_patches))
            else:
                filled.append(self._by_masks(features, _patch_masks(grid) & valid_patches))
        features = torch.stack(filled).view(grid.features.shape).to(grid.features.dtype)
        return grid.but(features=features, values=grid.pooled)

    def _by_windows(
        self, features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]
    ) -> Float[Tensor, "h w d"]:
        """Transform one frame; the region of a patch is the window around it."""
        counted = valid[..., None].double()
        unit = torch.nn.functional.normalize(features, dim=-1) * counted
        window, size = self._window_sum(unit), self._window_sum(counted)
        inside, outside = (size - 1)[..., 0], (counted.sum() - size)[..., 0]
        # NaN where there is no other patch inside or none outside: such a patch is not global.
        own_cosine = (unit * (window - unit)).sum(-1) / torch.where(inside > 0, inside, torch.nan)
        other_cosine = (unit * (unit.sum((0, 1)) - window)).sum(-1)
        other_cosine = other_cosine / torch.where(outside > 0, outside, torch.nan)
        is_global = valid & (own_cosine - other_cosine < self.threshold)
        stays = counted * ~is_global[..., None]
        origin = _origin(features, valid)
        total, count = self._window_sum((features - origin) * stays), self._window_sum(stays)
        replaced = is_global[..., None] & (count > 0)
        return torch.where(replaced, origin + total / count.clamp(min=1), features)

    def _by_masks(
        self, features: Float[Tensor, "h w d"], masks: Bool[Tensor, "k h w"]
    ) -> Float[Tensor, "h w d"]:
        """Transform one frame; the regions are masks, of which a patch may lie in several."""
        member = masks[masks.any(2).any(1)].flatten(1).double()
        flat = features.flatten(0, 1)
        unit = torch.nn.functional.normalize(flat, dim=-1)
        cosine = member @ unit / member.sum(1, keepdim=True) @ unit.T  # [k n] means over regions
        own_cosine = (cosine * member).sum(0) / member.sum(0)
        other_cosine = (cosine * (1 - member)).sum(0) / (1 - member).sum(0)
        # NaN, so not global, for a patch in no mask or in all of them.
        is_global = own_cosine - other_cosine < self.threshold
        stays = member * ~is_global
        count = member.T @ stays.sum(1)
        origin = _origin(features, masks.any(0))
        total = member.T @ (stays @ (flat - origin))
        replaced = (is_global & (count > 0))[:, None]
        filled = torch.where(replaced, origin + total / count.clamp(min=1)[:, None], flat)
        return filled.view(features.shape)

    def _window_sum(self, field: Float[Tensor, "h w d"]) -> Float[Tensor, "h w d"]:
        """The sum over the window of each patch.

        It is a difference of running sums (an integral image): the same work for every radius.
        """
        for axis in (0, 1):
            running = torch.cat(
                [torch.zeros_like(field.narrow(axis, 0, 1)), field.cumsum(axis)], axis
            )
            index = torch.arange(field.shape[axis], device=field.device)
            begin = (index - self.radius).clamp(min=0)
            end = (index + self.radius + 1).clamp(max=field.shape[axis])
            field = running.index_select(axis, end) - running.index_select(axis, begin)
        return field


def _patch_masks(grid: PatchGrid) -> Bool[Tensor, "k h w"]:
    """The segmenter's masks on the grid: a patch lies in a mask that covers half of it."""
    if grid.masks is None:
        raise ValueError(
            "globalfilter(regions='masks') needs pixel masks: name a segmenter, or take "
            "regions='windows'"
        )
    return (grid.frame.to_grid(grid.masks) >= 0.5).to(grid.features.device)


def _origin(features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]) -> Float[Tensor, " d"]:
    """The feature that means are counted from: some valid patch, or zeros.

    So the mean of equal patches is that patch to the last bit.
    """
    return features[valid][0] if bool(valid.any()) else torch.zeros_like(features[0, 0])

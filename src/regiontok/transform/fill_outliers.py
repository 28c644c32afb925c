"""Replace patches of outlying norm by the mean of their neighbours, for the region steps.

After: Darcet et al., "Vision Transformers Need Registers", ICLR 2024 (high-norm patches hold
    global, not local content); a remedy for the high-norm artifacts of the diagnostic study,
    section 4.1 (finding 3).
Differs: neither paper does this (one trains registers, the other normalises); outliers are those
    that `measures/norms.py` counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class FillOutliers(Transform):
    """An outlier becomes the mean of those of its 8 neighbours that are none.

    A group of outliers is filled from its rim inwards; pooled values stay as they are. An outlier's
    norm is above max(median + deviations x 1.4826 x MAD, ratio x median) of the valid patches of
    its view (frame by frame in a clip), where MAD is the median absolute deviation. At most half of
    the patches can be outliers.

    Attributes:
        deviations: how many robust standard deviations above the median an outlier lies.
        ratio: how many medians it has at least, 1 or more.

    Raises:
        ValueError: If deviations is negative, or ratio is below 1.
    """

    deviations: float = 6.0
    ratio: float = 1.5
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.deviations >= 0:
            raise ValueError(f"deviations must be 0 or more, got {self.deviations}")
        if not self.ratio >= 1:
            raise ValueError(
                "ratio must be 1 or more, or patches below the median are outliers; got "
                f"{self.ratio}"
            )

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view."""
        frames = grid.features.double().reshape(-1, *grid.features.shape[-3:])
        valid = grid.valid.reshape(-1, *grid.valid.shape[-2:])
        filled = torch.stack(list(map(self._fill, frames, valid)))
        features = filled.view(grid.features.shape).to(grid.features.dtype)
        return grid.but(features=features, values=grid.pooled)

    def _fill(
        self, features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]
    ) -> Float[Tensor, "h w d"]:
        """Transform one frame."""
        norms = features.norm(dim=-1)
        if not bool(valid.any()):
            return features
        median = norms[valid].quantile(0.5)
        deviation = 1.4826 * (norms[valid] - median).abs().quantile(0.5)
        limit = torch.maximum(median + self.deviations * deviation, self.ratio * median)
        known = valid & ~(valid & (norms > limit))
        # Of the valid patches, a rectangle, at most half are outliers, so each pass reaches at
        # least one further patch.
        while bool((valid & ~known).any()):
            total, count = (
                _sum_3x3(features * known[..., None]),
                _sum_3x3(known[..., None].double()),
            )
            next_to = valid & ~known & (count[..., 0] > 0)
            features = torch.where(next_to[..., None], total / count.clamp(min=1), features)
            known = known | next_to
        return features


def _sum_3x3(field: Float[Tensor, "h w d"]) -> Float[Tensor, "h w d"]:
    """The sum over the 3 x 3 patches around each patch."""
    window = torch.nn.functional.avg_pool2d(
        field.movedim(-1, 0)[None], 3, stride=1, padding=1, divisor_override=1
    )
    return window[0].movedim(0, -1)

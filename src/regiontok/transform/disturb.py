"""Damage what region steps read, by a known amount: to ask what clustering needs of an encoder.

After: diagnostic study, section 4.1 (finding 3: encoders whose features are smooth, noisy or hold
    high-norm artifacts give worse regions); Darcet et al., "Vision Transformers Need Registers",
    ICLR 2024 (a few patches of high norm, alike, which say nothing of their place).
Differs: the study compares encoders that differ in this among much else; here one encoder is
    damaged, and pooled values stay as they are, so that nothing but the regions changes.
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

_NORM = 4.0  # of an artifact, in mean norms of the view's patches


@dataclass(frozen=True)
class Disturb(Transform):
    """Smooth the features, add noise to them, and put artifacts of high norm among them.

    Attributes:
        smooth: how often each patch becomes the mean of the patches around it, itself among them.
        noise: standard deviation of noise, in standard deviations of each channel over the view.
        artifacts: share of the patches that become nearly one vector of four times the mean norm,
            in [0, 1).
        seed: seeds noise and artifacts, together with the picture's features.

    Raises:
        ValueError: If a number is negative, `artifacts` is 1 or more, or nothing is disturbed.
    """

    smooth: int = 0
    noise: float = 0.0
    artifacts: float = 0.0
    seed: int = 0
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if min(self.smooth, self.noise, self.artifacts) < 0 or self.artifacts >= 1:
            raise ValueError(
                "smooth and noise are 0 or more, and artifacts a share in [0, 1), got "
                f"smooth={self.smooth}, noise={self.noise}, artifacts={self.artifacts}"
            )
        if not (self.smooth or self.noise or self.artifacts):
            raise ValueError("nothing would be disturbed: say smooth, noise or artifacts")

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame. A view of one colour stays as it is."""
        frames = grid.features.double().reshape(-1, *grid.features.shape[-3:])
        valid = grid.valid.reshape(-1, *grid.valid.shape[-2:])
        disturbed = torch.stack(list(map(self._disturbed, frames, valid)))
        features = disturbed.view(grid.features.shape).to(grid.features.dtype)
        return grid.but(features=features, values=grid.pooled)

    def _disturbed(
        self, features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]
    ) -> Float[Tensor, "h w d"]:
        """Transform one frame; patches of padding stay as they are."""
        rows = features[valid]
        if not len(rows) or bool((rows == rows[0]).all()):
            return features
        numbers = torch.Generator().manual_seed(self.seed + _number_of(rows))
        disturbed = features
        for _ in range(self.smooth):
            disturbed = _means_3x3(disturbed, valid)
        rows = disturbed[valid]
        if self.noise:
            drawn = torch.randn(rows.shape, generator=numbers, dtype=torch.float64)
            rows = rows + self.noise * rows.std(0, correction=0) * drawn.to(rows.device)
        count = round(self.artifacts * len(rows))
        places = torch.randperm(len(rows), generator=numbers)[:count].to(rows.device)
        # one direction for all pictures, as registers have it, with a little of each patch
        common = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(self.seed))
        common = common.to(rows) / common.norm()
        rows = rows.index_copy(
            0, places, common * _NORM * rows.norm(dim=1).mean() + 0.1 * rows[places]
        )
        return disturbed.index_put((valid,), rows)


def _number_of(rows: Float[Tensor, "n d"]) -> int:
    """A number that another picture has not, so that its noise is another."""
    return int(rows.abs().sum().mul(1e3).remainder(2**31))


def _means_3x3(
    features: Float[Tensor, "h w d"], valid: Bool[Tensor, "h w"]
) -> Float[Tensor, "h w d"]:
    """The mean of the valid ones of the 3 x 3 patches around each valid patch."""
    weights = valid.to(features)[None, None]
    stacked = torch.cat([features.movedim(-1, 0)[None] * weights, weights], 1)
    window = torch.nn.functional.avg_pool2d(stacked, 3, stride=1, padding=1)[0]
    means = (window[:-1] / window[-1].clamp(min=1e-9)).movedim(0, -1)
    return torch.where(valid[..., None], means, features)

"""A feature pyramid of one frozen map: five levels, by pooling and by repeating.

After: RICE, section 4.3 (row R11: levels at 0.25, 0.5, 1, 2 and 4 times the map, by max-pooling
and unpooling); the simple feature pyramid of ViTDet (1x1 and 3x3 convolutions with LayerNorm).
Differs: "unpooling" is read as repeating each cell (nearest), since max-pooling has left no
indices. The 1x1 convolution and its norm come before the repeating, which gives the same values at
a sixteenth of the work. Pooling keeps a last, half-filled cell, so that a grid of odd size loses
nothing at its border and every level has exactly its stride.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

REPEATS = (4, 2, 1)  # of the three fine levels
POOLS = (2, 4)  # of the two coarse ones
# cells of each level along one cell of the map, fine to coarse
FACTORS = (4.0, 2.0, 1.0, 0.5, 0.25)


class FeaturePyramid(nn.Module):
    """Five levels of one map, fine to coarse, that share no weights.

    Args:
        width: d, channels of the map.
        channels: channels of each level.
    """

    def __init__(self, width: int, channels: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(width, channels, 1) for _ in FACTORS)
        self.smooth = nn.ModuleList(_conv(channels, channels, 3) for _ in FACTORS)

    def forward(self, maps: Float[Tensor, "b d h w"]) -> list[Float[Tensor, "b c y x"]]:
        """The levels, whose cells are `FACTORS` times as many along each side of the map."""
        levels = []
        for number, (lateral, smooth) in enumerate(zip(self.lateral, self.smooth, strict=True)):
            if number < len(REPEATS):
                level = repeated(lateral(maps), REPEATS[number])
            else:
                side = POOLS[number - len(REPEATS)]
                level = lateral(F.max_pool2d(maps, side, ceil_mode=True))
            levels.append(smooth(level))
        return levels


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each cell of `[b c h w]`."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each cell by itself."""
        normed: Tensor = super().forward(maps.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


def repeated(maps: Float[Tensor, "b c h w"], times: int) -> Float[Tensor, "b c y x"]:
    """Each cell `times` times along both axes."""
    if times == 1:
        return maps
    return F.interpolate(maps, scale_factor=times, mode="nearest")


def _conv(width: int, channels: int, side: int) -> nn.Sequential:
    conv = nn.Conv2d(width, channels, side, padding=side // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, ChannelNorm(channels, eps=1e-6))

"""The CENTER head: where the target's centre lies, how far from the cell's corner, how large it is.

After: OSTrack's CenterPredictor: three branches of four 3 x 3 convolutions with batch norm, whose
    channels halve, and a 1 x 1 convolution; the box is read at the highest score.
Differs: the last bias of the score's branch begins where scores are .1, as in CornerNet; OSTrack
    begins at about .5, and the focal loss of all empty cells then drowns the rest for the first
    hundreds of steps. The size's begins at what a target measures in a crop, for OSTrack's .5 is
    twice that: its first large gradients end narrow branches for good in some seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

_LEVELS = 4
_FIRST_SCORE = 0.1  # of an untrained head, about
_LEAST = 1e-4  # of a score: the focal loss takes its logarithm


@dataclass(frozen=True, eq=False)
class BoxMaps:
    """What the head says at each cell of the search crop.

    Attributes:
        score: `[b h w]`, 0 to 1, how likely the target's centre lies in the cell.
        offset: `[b 2 h w]`, x and y of the centre from the cell's upper left corner, in cells.
        size: `[b 2 h w]`, width and height of the target; the crop's side is 1.
    """

    score: Float[Tensor, "b h w"]
    offset: Float[Tensor, "b 2 h w"]
    size: Float[Tensor, "b 2 h w"]

    def boxes(self, weight: Float[Tensor, "h w"] | None = None) -> Float[Tensor, "b 4"]:
        """x, y, width and height of the box at the highest score; the crop's side is 1.

        Args:
            weight: scores are multiplied by it before the highest is looked for.
        """
        score = self.score if weight is None else self.score * weight
        height, width = score.shape[1:]
        peak = score.flatten(1).argmax(1)
        rows = torch.arange(len(peak), device=peak.device)
        offset = self.offset.flatten(2)[rows, :, peak]
        size = self.size.flatten(2)[rows, :, peak]
        cell = torch.stack([peak % width, peak // width], 1)
        cells = torch.tensor([width, height], device=peak.device)
        centre = (cell + offset) / cells
        return torch.cat([centre - size / 2, size], 1)


class BoxHead(nn.Module):
    """`[b d h w] -> BoxMaps`.

    Args:
        width: d.
        channels: channels of the first convolution; they halve from one to the next.
        first_size: about which sizes an untrained head gives; the crop's side is 1.
    """

    def __init__(self, width: int, channels: int, first_size: float = 0.25) -> None:
        super().__init__()
        self.score = _branch(width, channels, 1, last_bias=_logit(_FIRST_SCORE))
        self.offset = _branch(width, channels, 2)
        self.size = _branch(width, channels, 2, last_bias=_logit(first_size))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, maps: Float[Tensor, "b d h w"]) -> BoxMaps:
        """The three maps; scores and sizes lie in 0 to 1, and never quite reach them."""
        score, size = (
            branch(maps).sigmoid().clamp(_LEAST, 1 - _LEAST) for branch in (self.score, self.size)
        )
        return BoxMaps(score.squeeze(1), self.offset(maps), size)


def _branch(
    width: int, channels: int, out: int, *, last_bias: float | None = None
) -> nn.Sequential:
    widths = [width, *(max(1, channels >> level) for level in range(_LEVELS))]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    last = nn.Conv2d(widths[-1], out, 1)
    if last_bias is not None and last.bias is not None:
        nn.init.constant_(last.bias, last_bias)
    return nn.Sequential(*layers, last)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def hann_window(grid: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The cosine window that draws the tracker to the middle of the search crop at test.

    >>> hann_window((1, 3)).tolist()
    [[0.5, 1.0, 0.5]]
    """

    def along(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, dtype=torch.float32)
        return 0.5 * (1 - torch.cos(2 * math.pi / (count + 1) * steps))

    return along(grid[0])[:, None] * along(grid[1])[None, :]

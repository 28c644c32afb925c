"""What learns: transformer blocks on the tokens of both crops, the box head on the search's.

After: RICE section 4.4 ("two standard vision transformer blocks between the frozen backbone and the
    prediction head ... only passing the search image features to the position prediction
    network").
Differs: frozen features of any scale come in, so a LayerNorm stands before the blocks, and learned
    positions are added to the tokens of either crop (OSTrack adds them before its backbone), which
    encoders without positions of their own need. `width` may differ from the encoder's: a linear
    layer then stands between them. RICE says nothing of any of this. Keys begin with the weights of
    the queries, after Trockman and Kolter 2023 (arXiv:2305.09828, products of queries and keys near
    the identity): a token then looks at tokens like itself from the first step on, which is what
    finding a target again takes, and which few pairs do not teach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from regiontok.probe.track.box_head import BoxHead, BoxMaps
from regiontok.probe.track.settings import TrackSettings

if TYPE_CHECKING:
    from jaxtyping import Float

_MLP_RATIO = 4
_INIT = 0.02


class TrackHead(nn.Module):
    """`(template [b d h w], search [b d H W]) -> BoxMaps`.

    Args:
        encoder_width: d.
        template, search: (rows, columns) of the two grids.
        settings: depth and widths.

    Raises:
        ValueError: If the width of the blocks is no multiple of a head's.
    """

    def __init__(
        self,
        encoder_width: int,
        template: tuple[int, int],
        search: tuple[int, int],
        settings: TrackSettings,
    ) -> None:
        super().__init__()
        width = settings.width or encoder_width
        self.norm_in = nn.LayerNorm(encoder_width)
        self.project = nn.Linear(encoder_width, width) if settings.width else nn.Identity()
        self.template_places = nn.Parameter(torch.empty(template[0] * template[1], width))
        self.search_places = nn.Parameter(torch.empty(search[0] * search[1], width))
        heads = heads_of(width, settings.head_width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(settings.blocks))
        self.norm_out = nn.LayerNorm(width)
        self.head = BoxHead(width, settings.channels, min(0.5, 1 / settings.search_factor))
        self.search_grid = search
        for places in (self.template_places, self.search_places):
            nn.init.trunc_normal_(places, std=_INIT)

    def forward(
        self, template: Float[Tensor, "b d h w"], search: Float[Tensor, "b d H W"]
    ) -> BoxMaps:
        """The maps of the box head over the search crop."""
        tokens = torch.cat(
            [
                self._tokens(template) + self.template_places,
                self._tokens(search) + self.search_places,
            ],
            dim=1,
        )
        for block in self.blocks:
            tokens = block(tokens)
        seen = self.norm_out(tokens[:, len(self.template_places) :])
        return self.head(seen.transpose(1, 2).unflatten(2, self.search_grid))

    def _tokens(self, maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n width"]:
        return self.project(self.norm_in(maps.flatten(2).transpose(1, 2)))


class Block(nn.Module):
    """A plain block of a vision transformer: attention and an MLP, each after a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, _MLP_RATIO * width), nn.GELU(), nn.Linear(_MLP_RATIO * width, width)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_INIT)
                nn.init.zeros_(layer.bias)
        self._begin_with_like_tokens(width)

    @torch.no_grad()
    def _begin_with_like_tokens(self, width: int) -> None:
        """Give queries and keys the same weights, which keep lengths."""
        nn.init.normal_(self.qkv.weight[:width], std=width**-0.5)
        self.qkv.weight[width : 2 * width] = self.qkv.weight[:width]

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Tokens that have looked at one another."""
        split = self.qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        mlp: Tensor = self.mlp(self.norm_mlp(tokens))
        return tokens + mlp


def heads_of(width: int, head_width: int) -> int:
    """The number of heads nearest to one for each `head_width` channels that divides the width.

    >>> heads_of(1024, 64), heads_of(192, 64), heads_of(320, 64), heads_of(56, 64)
    (16, 3, 5, 1)
    """
    wanted = max(1, width // head_width)
    return max(heads for heads in range(1, wanted + 1) if width % heads == 0)

"""RADIO's vision transformer up to any block, on any grid, with either way of interpolating."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regiontok.core.frame import Pair

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class RadioTower(nn.Module):
    """RADIO's vision transformer up to any block, on any grid.

    The embeddings are put together here, out of RadioModel's parts, so that one model in memory
    serves every canvas and both ways of interpolating positions; transformers' own forward knows
    one way.

    Args:
        model: a RadioModel.
        normaliser: the mean and the matrix "tx" of a checkpoint's feature normaliser, or nothing.

    Attributes:
        prefix_order: the summary tokens among the tokens in front of the patches, then the others
            (a teacher's token without a summary, registers).
    """

    def __init__(self, model: Any, normaliser: dict[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.mean = nn.Buffer(normaliser["mean"]) if normaliser else None
        self.turn = nn.Buffer(normaliser["tx"]) if normaliser else None
        summaries = model.summary_idxs.tolist()
        tokens = range(model.config.num_summary_tokens)
        self.prefix_order = [*summaries, *(index for index in tokens if index not in summaries)]

    def forward(
        self, pixels: UInt8[Tensor, "b 3 H W"], blocks: int | None, align_corners: bool
    ) -> Float[Tensor, "b n d"]:
        """Prefix tokens and patches behind a number of blocks.

        Args:
            pixels: the canvases.
            blocks: how many blocks run; None for all, and the feature normaliser behind them, as
                the released model hands features out.
            align_corners: how positions are interpolated.
        """
        embeddings, patch = self.model.embeddings, self.model.config.patch_size
        grid = (pixels.shape[2] // patch, pixels.shape[3] // patch)
        weight = embeddings.patch_projection.weight
        values = self.model.input_conditioner(pixels.float() / 255).to(weight.dtype)
        # a patch is (channel, row, column)
        patches = nn.functional.unfold(values, patch, stride=patch).mT.contiguous()
        table = embeddings.position_embedding
        hidden = embeddings.patch_projection(patches) + positions(table, grid, align_corners)
        prefix = embeddings.cls_register_token.expand(len(hidden), -1, -1)
        hidden = torch.cat([prefix, hidden], dim=1)
        for block in self.model.encoder.layer[:blocks]:
            hidden = block(hidden)
        if blocks is None and self.turn is not None:
            count = len(self.prefix_order)
            normalised = (hidden[:, count:] - self.mean) @ self.turn.mT
            hidden = torch.cat([hidden[:, :count], normalised], dim=1)
        return hidden


def positions(
    table: Float[Tensor, "1 s d"], grid: Pair, align_corners: bool
) -> Float[Tensor, "1 n d"]:
    """RADIO's table of positions for a grid.

    It is brought to a square of the grid's longer side, of which the upper left (h, w) is taken.

    >>> table = torch.arange(16.0).reshape(1, 16, 1)  # 4 x 4
    >>> positions(table, (1, 2), align_corners=True).flatten().tolist()
    [0.0, 3.0]
    >>> positions(table, (2, 1), align_corners=True).flatten().tolist()
    [0.0, 12.0]
    """
    side = math.isqrt(table.shape[1])
    square = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    longest = max(grid)
    square = nn.functional.interpolate(
        square, size=(longest, longest), mode="bilinear", align_corners=align_corners
    )
    return square[..., : grid[0], : grid[1]].flatten(2).mT.to(table.dtype)

"""The rows of the whole image become their mean: one token in front of the masks, in place of V.

After: OG-LLaVA's released code, whose switches `global_view` and `averaging_global_view` are on
(the paper's global view, section 5.4.1, row O6, keeps all V rows and has no such place).
Differs: an image that has no rows of masks is shown without masks (row O5), and keeps its rows, as
the release then does. Behind the connector it would be another mean than the release's, which
stands before it (`place_features`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from regiontok.core.grid import PatchGrid
from regiontok.core.tokens import REGION, WHOLE, Tokens
from regiontok.methods import Place


@dataclass(frozen=True)
class Average(Place):
    """The mean of the rows that `whole=True` under the pool `select` puts in front.

    It has no settings, and does nothing where there are no such rows.
    """

    version: ClassVar[int] = 1

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids) -> Tokens [t - images (V - 1) width]`."""
        return Averages()


class Averages(nn.Module):
    """One token of kind whole, and of no patch, for each image that has masks."""

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """The tokens with one token in place of each image's block."""
        masked = torch.bincount(tokens.image[tokens.kind == REGION], minlength=tokens.images) > 0
        block = (tokens.kind == WHOLE) & masked[tokens.image]
        if not bool(block.any()):
            return tokens
        first = block.clone()
        first[1:] &= ~(block[:-1] & (tokens.image.diff() == 0))
        image = tokens.image[block]
        rows = tokens.values[block].to(torch.promote_types(tokens.values.dtype, torch.float32))
        sums = rows.new_zeros(tokens.images, rows.shape[1]).index_add(0, image, rows)
        counts = torch.bincount(image, minlength=tokens.images).clamp(min=1)
        means = (sums / counts[:, None]).to(tokens.values.dtype)
        values = torch.where(first[:, None], means[tokens.image], tokens.values)
        averaged = replace(tokens, values=values, patch=tokens.patch.masked_fill(first, -1))
        return averaged.take(~block | first)

"""Positions added to the rows of masks, behind the connector: by mask (1-D) or by row and column
(2-D), sinusoidal or learned.

After: OG-LLaVA, section 5.4.3 and figure 11 (row O8); `learn2d` is the learnable 2-D grid that its
results wish for.
Differs: only rows of masks get a position: the whole image, CLS, delimiters and rows without masks
(1-D) have none, a zero vector. A width that 2 or 4 does not divide takes as many channels of the
formula as fit. Tables start at 0.02 times normal numbers (the paper does not say). In the release
the learned table of patches is made anew at each forward, so that it cannot learn, and 2-D indices
are off by one; here the first mask is number 1, as 0 is no mask, and the first row and column are
0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Place
from regiontok.place._masks import mask_of, view_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BASE = 10000.0
SPREAD = 0.02  # of a table's first values, as language models draw their embeddings


@dataclass(frozen=True)
class Posenc(Place):
    """Add a vector to each row of a mask.

    Attributes:
        kind: `sin1d`, `learn1d`: one vector a mask, by its number in its image; `sin2d`, `learn2d`:
            by row and column of the patch.
        masks: the most masks of an image, for `learn1d`.
        grid: the most rows and columns, for `learn2d`.
    """

    kind: Literal["sin1d", "learn1d", "sin2d", "learn2d"]
    masks: int = 256
    grid: tuple[int, int] = (32, 32)
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if min(self.masks, *self.grid) < 1:
            raise ValueError(
                f"a table holds at least one position, got masks={self.masks}, grid={self.grid}"
            )

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids) -> Tokens [t width]`."""
        if self.kind.endswith("1d"):
            return MaskPositions(width, self.masks if self.kind == "learn1d" else 0)
        return PatchPositions(width, self.grid if self.kind == "learn2d" else None)


class MaskPositions(nn.Module):
    """1-D positions by the number of a mask in its image; `masks` 0 is sinusoidal."""

    def __init__(self, width: int, masks: int) -> None:
        super().__init__()
        self.masks = masks
        self.table = nn.Parameter(torch.randn(masks, width) * SPREAD) if masks else None

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """Add each mask's vector to its rows.

        Raises:
            ValueError: an image with more masks than the table holds.
        """
        number = mask_of(tokens, grids)
        if self.table is None:
            codes = sinusoid(number, tokens.values.shape[1], wide(tokens.values))
        else:
            most = int(number.max()) if len(number) else 0
            if most > self.masks:
                raise ValueError(
                    f"an image has {most} masks, but posenc('learn1d') has positions for {self.masks}: say masks={most}, or keep fewer"
                )
            codes = self.table[
                (number - 1).clamp(min=0)
            ]  # number 0 has no row: it can learn nothing
        return added(tokens, codes, number > 0)


class PatchPositions(nn.Module):
    """2-D positions by row and column of a patch on its view's grid; `grid` None is sinusoidal."""

    def __init__(self, width: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.randn(*grid, width) * SPREAD) if grid else None

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """Add each patch's vector to its rows.

        Raises:
            ValueError: a pooled token, which has no patch; a grid larger than the table.
        """
        rows = tokens.kind == REGION
        if bool((rows & (tokens.patch < 0)).any()):
            raise ValueError(
                "2-D positions are those of patches, and a pooled token has none: take pool='select', or posenc('sin1d')"
            )
        sides = torch.tensor(
            [grid.grid[-2:] for grid in grids] or [(1, 1)], device=tokens.patch.device
        )
        h, w = sides[view_of(tokens, grids).clamp(max=len(sides) - 1)].unbind(1)
        at = tokens.patch.clamp(min=0) % (h * w)  # in a clip every frame has the same grid
        y, x = at // w, at % w
        width = tokens.values.shape[1]
        if self.table is None or self.grid is None:
            halves = [(y, width // 2), (x, width - width // 2)]
            codes = torch.cat(
                [sinusoid(side, part, wide(tokens.values)) for side, part in halves], 1
            )
        else:
            self._check(grids, self.grid)
            y, x = (side.where(rows, 0) for side in (y, x))
            codes = self.table[y, x]
        return added(tokens, codes, rows)

    @staticmethod
    def _check(grids: Sequence[PatchGrid], most: tuple[int, int]) -> None:
        for h, w in {grid.grid[-2:] for grid in grids}:
            if h > most[0] or w > most[1]:
                raise ValueError(
                    f"a view has {h} x {w} patches, but posenc('learn2d') has positions for {most}: say grid=({h}, {w})"
                )


def sinusoid(
    at: Int[Tensor, "n"], width: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """Channel 2k is sin(at / 10000^(2k / width)), channel 2k + 1 its cosine.

    >>> sinusoid(torch.tensor([0, 1]), 2)
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    channel = torch.arange(width, device=at.device)
    angles = at[:, None].to(dtype) * BASE ** (-(channel - channel % 2).to(dtype) / max(width, 1))
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


def wide(values: Tensor) -> torch.dtype:
    """The type to add in: float32 or better."""
    return torch.promote_types(values.dtype, torch.float32)


def added(tokens: Tokens, codes: Float[Tensor, "t d"], rows: Tensor) -> Tokens:
    """Tokens with codes added to some rows; the others stay as they are, and values keep their
    type."""
    own = wide(tokens.values)
    codes = torch.where(rows[:, None], codes.to(own), 0)
    return tokens.but((tokens.values.to(own) + codes).to(tokens.values.dtype))

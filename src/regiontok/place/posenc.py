"""Positions of masks (1-D) or patches (2-D), added to the rows of masks behind the connector.

They are sinusoidal or learned.

After: OG-LLaVA, section 5.4.3 and figure 11 (row O8); `learn2d` is the learnable 2-D grid that its
results wish for.
Differs: only rows of masks get a position: the whole image, CLS, delimiters and rows without masks
(1-D) get a zero vector. A width that 2 or 4 does not divide takes as many channels of the formula
as fit. Tables start at 0.02 times normal numbers (the paper does not say). In the release the
learned table of patches is made anew at each forward, so that it cannot learn, and 2-D indices are
off by one; here the first mask is number 1, as 0 is no mask, and the first row and column are 0.
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
    from jaxtyping import Bool, Float, Int

BASE = 10000.0  # of the sinusoids' wavelengths
SPREAD = 0.02  # deviation of a table's first values, as language models draw their embeddings


@dataclass(frozen=True)
class Posenc(Place):
    """Add a vector to each row of a mask.

    Attributes:
        kind: "sin1d" and "learn1d" have one vector a mask, by its number in its image; "sin2d" and
            "learn2d" go by row and column of the patch.
        masks: largest number of masks of an image, for "learn1d".
        grid: largest numbers of rows and columns, for "learn2d".

    Raises:
        ValueError: If a table would hold no position.
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

    @property
    def most_masks(self) -> int | None:
        """The rows of a learned table by mask; None for the other kinds."""
        return self.masks if self.kind == "learn1d" else None

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids) -> Tokens [t width]`."""
        if self.kind.endswith("1d"):
            return MaskPositions(width, self.masks if self.kind == "learn1d" else 0)
        return PatchPositions(width, self.grid if self.kind == "learn2d" else None)


class MaskPositions(nn.Module):
    """1-D positions by the number of a mask in its image; `masks` 0: sinusoidal."""

    def __init__(self, width: int, masks: int) -> None:
        super().__init__()
        self.masks = masks
        self.table = nn.Parameter(torch.randn(masks, width) * SPREAD) if masks else None

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """Add each mask's vector to its rows.

        Raises:
            ValueError: If an image has more masks than the table holds.
        """
        number = mask_of(tokens, grids)
        if self.table is None:
            codes = sinusoid(number, tokens.values.shape[1], sum_dtype(tokens.values))
        else:
            largest = int(number.max()) if len(number) else 0
            if largest > self.masks:
                raise ValueError(
                    f"an image has {largest} masks, but posenc('learn1d') has positions for "
                    f"{self.masks}: say masks={largest}, or keep fewer"
                )
            # Number 0 has no row in the table, so it can learn nothing.
            codes = self.table[(number - 1).clamp(min=0)]
        return added(tokens, codes, number > 0)


class PatchPositions(nn.Module):
    """2-D positions by row and column of a patch on its view's grid; `grid` None: sinusoidal."""

    def __init__(self, width: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.randn(*grid, width) * SPREAD) if grid else None

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """Add each patch's vector to its rows.

        Raises:
            ValueError: If a token is pooled, so that it has no patch, or a grid is larger than the
                table.
        """
        rows = tokens.kind == REGION
        if bool((rows & (tokens.patch < 0)).any()):
            raise ValueError(
                "2-D positions are those of patches, and a pooled token has none: take "
                "pool='select', posenc('sin1d'), or centre('sin2d') for the middle of its region"
            )
        sides = torch.tensor(
            [grid.grid[-2:] for grid in grids] or [(1, 1)], device=tokens.patch.device
        )
        h, w = sides[view_of(tokens, grids).clamp(max=len(sides) - 1)].unbind(1)
        patch = tokens.patch.clamp(min=0) % (h * w)  # in a clip every frame has the same grid
        y, x = patch // w, patch % w
        width, dtype = tokens.values.shape[1], sum_dtype(tokens.values)
        if self.table is None or self.grid is None:
            y_codes = sinusoid(y, width // 2, dtype)
            x_codes = sinusoid(x, width - width // 2, dtype)
            codes = torch.cat([y_codes, x_codes], 1)
        else:
            check_table(grids, self.grid, "posenc")
            codes = self.table[y.where(rows, 0), x.where(rows, 0)]
        return added(tokens, codes, rows)


def check_table(grids: Sequence[PatchGrid], largest: tuple[int, int], place: str) -> None:
    """Raise if a learned table of positions is too small for a grid.

    Args:
        grids: the views.
        largest: rows and columns of the table.
        place: name of the place that has it.

    Raises:
        ValueError: If it is; the message says how large it must be.
    """
    for h, w in {grid.grid[-2:] for grid in grids}:
        if h > largest[0] or w > largest[1]:
            raise ValueError(
                f"a view has {h} x {w} patches, but {place}('learn2d') has positions for "
                f"{largest}: say grid=({h}, {w})"
            )


def sinusoid(
    position: Int[Tensor, "n"] | Float[Tensor, "n"], width: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """Channel 2k is sin(position / 10000^(2k / width)), channel 2k + 1 its cosine.

    >>> sinusoid(torch.tensor([0, 1]), 2)
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    channel = torch.arange(width, device=position.device)
    frequency = BASE ** (-(channel - channel % 2).to(dtype) / max(width, 1))
    angles = position[:, None].to(dtype) * frequency
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


def sum_dtype(values: Tensor) -> torch.dtype:
    """The type to add in: float32 or better."""
    return torch.promote_types(values.dtype, torch.float32)


def added(tokens: Tokens, codes: Float[Tensor, "t d"], rows: Bool[Tensor, "t"]) -> Tokens:
    """The tokens with codes added to some rows; other rows and the values' type do not change."""
    dtype = sum_dtype(tokens.values)
    codes = torch.where(rows[:, None], codes.to(dtype), 0)
    return tokens.but((tokens.values.to(dtype) + codes).to(tokens.values.dtype))

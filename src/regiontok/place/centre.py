"""The place of each region in its picture: a 2-D position at the mean of its patches.

A pooled token says what a region is like and not where it is, unless the encoder says it.

After: OG-LLaVA, section 5.4.3 (row O8): its 2-D sinusoidal and learned positions of patches, here
at the centre of a region.
Differs: centres lie between patches: the sinusoid takes them as they are, and a learned table is
interpolated bilinearly. A region of one patch has the position that `posenc` gives that patch, but
for `scale`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Place
from regiontok.place._masks import view_of
from regiontok.place.posenc import SPREAD, added, check_table, sinusoid, sum_dtype

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Centre(Place):
    """Add to each token of a region a vector that says where the region's centre is.

    Attributes:
        kind: "sin2d" for sinusoids of row and column, "learn2d" for a learned table.
        grid: largest numbers of rows and columns, for "learn2d".
        scale: factor of the sinusoids, whose root mean square is 0.7 without it.

    Raises:
        ValueError: If a table would hold no position.
    """

    kind: Literal["sin2d", "learn2d"] = "sin2d"
    grid: tuple[int, int] = (32, 32)
    scale: float = 1.0
    version: ClassVar[int] = 1
    reads_members: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ValueError(f"a table holds at least one position, got grid={self.grid}")

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids, members) -> Tokens [t width]`."""
        return Centres(width, self.grid if self.kind == "learn2d" else None, self.scale)


class Centres(nn.Module):
    """2-D positions of regions; `grid` None: sinusoidal."""

    def __init__(self, width: int, grid: tuple[int, int] | None, scale: float) -> None:
        super().__init__()
        self.grid, self.scale = grid, scale
        self.table = nn.Parameter(torch.randn(*grid, width) * SPREAD) if grid else None

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid], members: Members) -> Tokens:
        """Add to each token of a region the vector of its region's centre.

        Raises:
            ValueError: If a grid is larger than the table.
        """
        is_region = tokens.kind == REGION
        regions = members.regions.to(tokens.region.device)[
            view_of(tokens, grids).where(is_region, 0)
        ]
        number = (regions + tokens.region).where(is_region, 0)
        if self.grid is not None:
            check_table(grids, self.grid, "centre")
        codes = self._codes(centres_of(members, grids), tokens)
        return added(tokens, codes[number], is_region) if len(members) else tokens

    def _codes(self, centres: Float[Tensor, "k 2"], tokens: Tokens) -> Float[Tensor, "k d"]:
        """The vector of each region."""
        width, dtype = tokens.width, sum_dtype(tokens.values)
        y, x = centres.to(dtype).unbind(1)
        if self.table is None or self.grid is None:
            halves = [sinusoid(y, width // 2, dtype), sinusoid(x, width - width // 2, dtype)]
            return self.scale * torch.cat(halves, 1)
        top, left = y.floor().long(), x.floor().long()
        down, across = (y - top)[:, None], (x - left)[:, None]
        bottom = (top + 1).clamp(max=self.grid[0] - 1)
        right = (left + 1).clamp(max=self.grid[1] - 1)
        table = self.table.to(dtype)
        upper, lower = (
            torch.lerp(table[row, left], table[row, right], across) for row in (top, bottom)
        )
        return torch.lerp(upper, lower, down)


def centres_of(members: Members, grids: Sequence[PatchGrid]) -> Float[Tensor, "k 2"]:
    """Row and column, in patches, of the middle of each region of a batch; `[k 2]` float64.

    >>> from regiontok.core.frame import Frame
    >>> from regiontok.core.regions import Regions
    >>> grid = PatchGrid(torch.zeros(2, 3, 1), Frame.stretch((2, 3), (2, 3), (1, 1)))
    >>> whole = Regions.from_masks(torch.ones(1, 2, 3, dtype=torch.bool))
    >>> centres_of(Members.of([whole]), [grid]).tolist()
    [[0.5, 1.0]]
    """
    device = members.patch.device
    sides = torch.tensor([grid.grid[-2:] for grid in grids] or [(1, 1)], device=device)
    view = members.view[members.region]
    h, w = sides[view].unbind(1)
    patch = (members.patch - members.patches[view]) % (h * w)  # in a clip frames have one grid
    places = torch.stack([patch // w, patch % w], 1).double()
    sums = places.new_zeros(len(members), 2).index_add(0, members.region, places)
    return sums / members.sizes.clamp(min=1)[:, None]

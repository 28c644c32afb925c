"""A block of tokens a region: its first n patches in raster order, as they are.

After: nothing published; an example of a pool whose regions have varying numbers of tokens.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from regiontok.core.regions import Members
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Pool

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class First(Pool):
    """Keep the first `n` patches of each region; a smaller region keeps all of its patches.

    Attributes:
        n: largest number of tokens of a region.

    Raises:
        ValueError: If n is below 1.
    """

    n: int
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"first needs at least one patch, got n={self.n}")

    def build(self, width: int) -> nn.Module:
        """The module `(values [n d], Members) -> Tokens`; it has nothing to learn."""
        return FirstPatches(self.n)


class FirstPatches(nn.Module):
    """`(values [n d], Members) -> Tokens`, at most `n` tokens a region."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, values: Float[Tensor, "n d"], members: Members, kind: int = REGION) -> Tokens:
        """Select the first patches of every region of a batch."""
        starts = members.sizes.cumsum(0) - members.sizes
        places = torch.arange(len(members.patch), device=values.device)
        first = places - starts[members.region] < self.n
        return Tokens.of_patches(values[members.patch], members, kind).take(first)

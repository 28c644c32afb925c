"""A block of tokens a region: its patches as they are, mask by mask, in raster order.

A patch in two masks appears twice.

After: OG-LLaVA, section 2.1 and 5.2.2 (row O2, OG-Fusion's row selection; V + T tokens with the
whole image in front is row O6).
Differs: rows are ragged and never padded: the release pads batches with zeros before the connector,
so that an image's tokens depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from regiontok.core.regions import Members
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Pool

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Select(Pool):
    """Keep the rows of each region; nothing learns."""

    version: ClassVar[int] = 1
    keeps_patches: ClassVar[bool] = True

    def build(self, width: int) -> nn.Module:
        """The module `(values [n d], members) -> Tokens`."""
        return SelectRows()


class SelectRows(nn.Module):
    """The module `(values [n d], Members) -> Tokens [m d]`."""

    def forward(self, values: Float[Tensor, "n d"], members: Members, kind: int = REGION) -> Tokens:
        """Select the rows of every region of a batch."""
        return Tokens.of_patches(values[members.patch], members, kind)

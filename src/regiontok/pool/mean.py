"""One token a region: the mean of its patches.

After: diagnostic study, section 2, the text's first aggregation (row D8).
Differs: sums run in float32 also for half-precision values; otherwise nothing known.
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
class Mean(Pool):
    """Mean pooling; nothing learns."""

    version: ClassVar[int] = 1
    one_token: ClassVar[bool] = True

    def build(self, width: int) -> nn.Module:
        """The module `(values [n d], members) -> Tokens`."""
        return MeanPool()


class MeanPool(nn.Module):
    """The module `(values [n d], Members) -> Tokens [k d]`."""

    def forward(self, values: Float[Tensor, "n d"], members: Members, kind: int = REGION) -> Tokens:
        """Pool every region of a batch."""
        return Tokens.of_regions(segment_mean(values, members), members, kind)


def segment_mean(values: Float[Tensor, "n d"], members: Members) -> Float[Tensor, "k d"]:
    """The mean of each region's patches, summed in float32 or better."""
    exact = values if values.dtype.itemsize >= 4 else values.float()
    total = exact.new_zeros(len(members), exact.shape[1])
    total = total.index_add(0, members.region, exact[members.patch])
    return (total / members.sizes[:, None]).to(values.dtype)

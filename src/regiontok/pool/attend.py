"""One token a region by cross-attention: the query is the region's mean plus a learned bias, keys
and values are its patches.

After: diagnostic study, section 4.2 and appendix E.2 (row D9: 16 heads, one query a region; the
main rows of its tables use this one).
Differs: as written, one layer without a residual; `residual=True` adds the query to the result.
Computed over membership lists with a segment softmax, so nothing is padded: equal to padded
scaled-dot-product attention, gradients too (tested).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from regiontok.core.regions import Members
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Pool
from regiontok.pool.mean import segment_mean

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Attend(Pool):
    """Cross-attention pooling.

    Attributes:
        heads: attention heads; they must divide the width.
        residual: add the query to the result.
    """

    heads: int = 16
    residual: bool = False
    version: ClassVar[int] = 1
    one_token: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"needs at least one head, got {self.heads}")

    def build(self, width: int) -> nn.Module:
        """The module `(values [n d], members) -> Tokens`.

        Raises:
            ValueError: a width that the heads do not divide.
        """
        if width % self.heads:
            fit = [h for h in range(1, min(width, 64) + 1) if width % h == 0]
            raise ValueError(
                f"{self.heads} heads do not divide the width {width}; these would: {fit}"
            )
        return AttendPool(width, self.heads, self.residual)


class AttendPool(nn.Module):
    """`(values [n d], Members) -> Tokens [k d]`; parameters are those of `nn.MultiheadAttention`,
    and the bias of the query."""

    def __init__(self, width: int, heads: int, residual: bool) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for part in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, values: Float[Tensor, "n d"], members: Members, kind: int = REGION) -> Tokens:
        """Pool every region of a batch, in the parameters' type; tokens have that of the values."""
        own = values.to(self.query_bias.dtype)
        asked = segment_mean(own, members) + self.query_bias
        split = (self.heads, -1)
        q, k, v = (
            self.query(asked).unflatten(1, split),
            self.key(own).unflatten(1, split),
            self.value(own).unflatten(1, split),
        )
        q = q * q.shape[-1] ** -0.5  # before the products, whose unscaled sum may leave float16
        # sums in float32 or better: 576 times 1/576, added one by one in bfloat16, stops at 0.5
        wide = q.dtype if q.dtype.itemsize >= 4 else torch.float32
        scores = (q[members.region] * k[members.patch]).sum(-1, dtype=wide)
        mixes = segment_softmax(scores, members)[..., None] * v[members.patch]
        mixed = mixes.new_zeros(len(members), *v.shape[1:]).index_add(0, members.region, mixes)
        pooled = self.out(mixed.flatten(1).to(v.dtype))
        return Tokens.of_regions(
            (pooled + asked if self.residual else pooled).to(values.dtype), members, kind
        )


def segment_softmax(scores: Float[Tensor, "m a"], members: Members) -> Float[Tensor, "m a"]:
    """Softmax over the memberships of each region."""
    at = members.region[:, None].expand_as(scores)
    top = scores.new_full((len(members), scores.shape[1]), -torch.inf).scatter_reduce(
        0, at, scores.detach(), "amax"
    )
    weights = (scores - top[members.region]).exp()
    return (
        weights / weights.new_zeros(top.shape).index_add(0, members.region, weights)[members.region]
    )

"""One token a region by cross-attention, whose query is the region's mean plus a learned bias.

Keys and values are the patches of the region.

After: diagnostic study, section 4.2 and appendix E.2 (row D9: 16 heads, one query a region; the
main rows of its tables use this one).
Differs: as the study has it, one layer without a residual; `residual=True` adds the query to the
result. It is computed over membership lists with a segment softmax, so nothing is padded: equal to
padded scaled-dot-product attention, gradients too (tested).
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
        heads: number of attention heads; it must divide the width.
        residual: True adds the query to the result.

    Raises:
        ValueError: If there is no head.
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
            ValueError: If the heads do not divide the width.
        """
        if width % self.heads:
            divisors = [count for count in range(1, min(width, 64) + 1) if width % count == 0]
            raise ValueError(
                f"{self.heads} heads do not divide the width {width}; these would: {divisors}"
            )
        return AttendPool(width, self.heads, self.residual)


class AttendPool(nn.Module):
    """The module `(values [n d], Members) -> Tokens [k d]`.

    Its parameters are those of `nn.MultiheadAttention`, and the bias of the query.
    """

    def __init__(self, width: int, heads: int, residual: bool) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, values: Float[Tensor, "n d"], members: Members, kind: int = REGION) -> Tokens:
        """Pool every region of a batch in the parameters' type; tokens have that of the values."""
        patches = values.to(self.query_bias.dtype)
        query = segment_mean(patches, members) + self.query_bias
        heads = (self.heads, -1)
        q = self.query(query).unflatten(1, heads)
        k = self.key(patches).unflatten(1, heads)
        v = self.value(patches).unflatten(1, heads)
        q = q * q.shape[-1] ** -0.5  # before the products, whose unscaled sum may leave float16
        # Sums in float32 or better: 576 times 1/576, added one by one in bfloat16, stops at 0.5.
        sum_dtype = q.dtype if q.dtype.itemsize >= 4 else torch.float32
        scores = (q[members.region] * k[members.patch]).sum(-1, dtype=sum_dtype)
        weighted = segment_softmax(scores, members)[..., None] * v[members.patch]
        mixed = weighted.new_zeros(len(members), *v.shape[1:])
        mixed = mixed.index_add(0, members.region, weighted)
        pooled = self.out(mixed.flatten(1).to(v.dtype))
        if self.residual:
            pooled = pooled + query
        return Tokens.of_regions(pooled.to(values.dtype), members, kind)


def segment_softmax(scores: Float[Tensor, "m a"], members: Members) -> Float[Tensor, "m a"]:
    """Softmax over the memberships of each region, for each of `a` heads by itself."""
    region = members.region[:, None].expand_as(scores)
    largest = scores.new_full((len(members), scores.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, region, scores.detach(), "amax")
    weights = (scores - largest[members.region]).exp()
    total = weights.new_zeros(largest.shape).index_add(0, members.region, weights)
    return weights / total[members.region]

"""ToMe's bipartite soft matching, repeated on fixed features until exactly k tokens are left.

A region is the list of patches that a token stands for.

After: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023: tokens alternate between sets
    A and B, each token of A proposes its most similar token of B, the r best proposals merge, and
    tokens weigh by how many patches they hold.
Differs: the paper merges between the blocks of a running transformer, on its keys; here the encoder
has finished and `features` are compared. A round leaves the tokens of A that stay, most similar
first, then B: this order decides who alternates next, and is that of the recorded results, which
this equals. Ties are defined: similarities in float64 are rounded to 2^-20, and the token that
comes first wins. Regions need not be connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps._cosines import rounded_cosines

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class Tome(RegionStep):
    """Exactly `k` regions by token merging; a source, so it stands first in a spec.

    Attributes:
        k: number of tokens that are left.
        r: number of tokens merged in a round, the paper's r; None merges as many as a round can,
            half of them. At k = 144 on `lite` the shares of variance explained are 0.695 with None
            and 0.700 with 96 (docs/papers/methods.md).

    Raises:
        ValueError: If k or r is below 1, or k is above the number of patches.
    """

    k: int
    r: int | None = None
    version: ClassVar[int] = 1
    source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"needs at least one token, got k={self.k}")
        if self.r is not None and self.r < 1:
            raise ValueError(f"a round merges at least one token, got r={self.r}")

    @property
    def exact_count(self) -> int | None:
        """See `RegionStep`."""
        return self.k

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Merge one view; the regions that come in are replaced, and regions go by first patch."""
        valid = grid.valid.flatten()
        count = int(valid.sum())
        if self.k > count:
            raise ValueError(f"cannot merge {count} patches into {self.k} tokens")
        sums = grid.features.detach().flatten(0, -2)[valid].double()
        token = torch.arange(count, device=valid.device)  # the token that each patch is part of
        while len(sums) > self.k:
            half = len(sums) // 2
            r = min(half if self.r is None else self.r, half, len(sums) - self.k)
            place = match(sums, r)
            token = place[token]
            merged = sums.new_zeros(int(place.max()) + 1, sums.shape[1])
            sums = merged.index_add_(0, place, sums)
        first = torch.full((len(sums),), count, device=token.device)
        first = first.scatter_reduce(0, token, torch.arange(count, device=token.device), "amin")
        labels = torch.full_like(valid, -1, dtype=torch.int64)
        labels[valid] = first[token]
        return Regions.from_labels(labels.view(grid.grid))


def match(tokens: Float[Tensor, "t d"], r: int) -> Int[Tensor, "t"]:
    """One round: the place of each token after it; tokens that merge share a place.

    Args:
        tokens: sums or means of patches in float64; the cosine is the same.
        r: number of proposals that merge, at most t // 2.

    >>> match(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0]]).double(), 1).tolist()
    [0, 1, 1, 2]
    """
    unit = torch.nn.functional.normalize(tokens, dim=1)
    similarity = rounded_cosines(unit[0::2], unit[1::2])  # sets A and B
    partner = similarity.argmax(1)
    best = similarity.gather(1, partner[:, None])[:, 0]
    order = best.argsort(descending=True, stable=True)
    merges, stays = order[:r], order[r:]
    place = torch.empty(len(tokens), dtype=torch.int64, device=tokens.device)
    place[2 * stays] = torch.arange(len(stays), device=tokens.device)
    place[1::2] = torch.arange(len(tokens) // 2, device=tokens.device) + len(stays)
    place[2 * merges] = len(stays) + partner[merges]
    return place

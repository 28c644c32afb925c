"""ToMe's bipartite soft matching, repeated on fixed features until exactly k tokens are left; a
region is the patches of a token.

After: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023: tokens alternate between sets
    A and B, each token of A proposes its most similar token of B, the r best proposals merge,
    tokens weigh by how many patches they hold.
Differs: the paper merges between the blocks of a running transformer, on its keys; here the encoder
has finished and `features` are compared. A round leaves the tokens of A that stay, most similar
first, then B: the order that decides who alternates next (of the recorded results, which this
equals). Ties are defined: similarities in float64 are rounded to 2^-20, the token that comes first
wins. Regions need not be connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ONE = 1 << 20  # similarities are whole multiples of 1 / ONE, as in `merge`


@dataclass(frozen=True)
class Tome(RegionStep):
    """Exactly `k` regions by token merging; a source: it stands first in a spec.

    Attributes:
        k: tokens left.
        r: tokens merged a round, the paper's r; None merges as many as a round can, half of what is
            there. Share of variance explained on `lite`, 20 photos of BSDS500 train, r = None / 96
            / 24 / 8: .411/.390/.383/.381 at k=16, .695/.700/.687/.681 at k=144.

    Raises:
        ValueError: k or r below 1, or k above the number of patches.
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
        """Merge one view; the regions that come in are replaced. Regions come out by first
        patch."""
        valid = grid.valid.flatten()
        count = int(valid.sum())
        if self.k > count:
            raise ValueError(f"cannot merge {count} patches into {self.k} tokens")
        total = grid.features.detach().flatten(0, -2)[valid].double()
        token = torch.arange(count, device=valid.device)
        while len(total) > self.k:
            half = len(total) // 2
            place = match(total, min(half if self.r is None else self.r, half, len(total) - self.k))
            token = place[token]
            total = total.new_zeros(int(place.max()) + 1, total.shape[1]).index_add_(
                0, place, total
            )
        first = torch.full((len(total),), count, device=token.device)
        first = first.scatter_reduce(0, token, torch.arange(count, device=token.device), "amin")
        labels = torch.full_like(valid, -1, dtype=torch.int64)
        labels[valid] = first[token]
        return Regions.from_labels(labels.view(grid.grid))


def match(tokens: Float[Tensor, "t d"], r: int) -> Int[Tensor, "t"]:
    """One round: where each token stands after it; tokens that merge share a place.

    Args:
        tokens: sums or means, the cosine is the same; float64.
        r: proposals that merge, at most t // 2.

    >>> match(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0]]).double(), 1).tolist()
    [0, 1, 1, 2]
    """
    unit = torch.nn.functional.normalize(tokens, dim=1)
    similarity = (unit[0::2] @ unit[1::2].T * ONE).round()
    to = similarity.argmax(1)
    best = similarity.gather(1, to[:, None])[:, 0]
    order = best.argsort(descending=True, stable=True)
    merged, stays = order[:r], order[r:]
    place = torch.empty(len(tokens), dtype=torch.int64, device=tokens.device)
    place[2 * stays] = torch.arange(len(stays), device=tokens.device)
    place[1::2] = torch.arange(len(tokens) // 2, device=tokens.device) + len(stays)
    place[2 * merged] = len(stays) + to[merged]
    return place

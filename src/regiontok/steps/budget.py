"""At most so many visual tokens of a view: which regions, or which rows of them, stay when
overlapping masks give more.

After: nothing published. OG-LLaVA has no limit (row O2: T = sum of the rows of all masks; 100
random boxes give 16,058 rows of 576 patches), and its release then cuts text and labels at 2,048
tokens.
Differs: a stated policy instead. What is left out is counted in every report (`left_out`), the text
is never touched. The paper's own recipes have no budget.

The policies, with rows counted (`of="rows"`, what pool `select` hands on):
    largest       regions in descending size, each whole if it still fits; one that does not is left
                  out and smaller ones are tried. If not even one fits, the largest is thinned to
                  the budget, so that no image is left without a token.
    round_robin   a row a region in turn, in the order of the regions, until the budget or the rows
                  are spent: exactly min(budget, rows) rows. A region of n rows that is dealt q
                  keeps the middles of q equal stretches of its rows in ascending order, rows
                  floor((2 i + 1) n / 2 q). With a smaller budget than regions the first ones get a
                  row each.
    merge_rest    the largest regions whole, the others merged to one region at the end, each patch
                  of it once; as many stay whole as fit. A budget of all patches loses none that a
                  region held, only repetitions. If the union of all regions is too large by itself,
                  something has to go: as many stay whole as leave the rest a row, and the rest is
                  thinned as above.
With `of="regions"` (pools `mean` and `attend`: a region is a token) `largest` keeps the k largest,
`merge_rest` the k - 1 largest and one region, so one token, of the rest. Equal sizes go by their
order; regions stay in the order they came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


@dataclass(frozen=True)
class Budget(RegionStep):
    """Keep at most `tokens` rows (or regions) of a view; tokens in front (`whole`, `cls`) and
    delimiters are not counted.

    Attributes:
        tokens: the budget of one view.
        policy: what stays; see the module.
        of: what is counted: "rows", a patch of a region each, or "regions".

    Raises:
        ValueError: a budget below 1; "round_robin" of regions, which are a token each already.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 0, 0, 1, 1, 2]]))
    >>> [Budget(4, policy).one(regions, None).sizes.tolist() for policy in ("largest", "round_robin", "merge_rest")]
    [[4], [2, 1, 1], [4]]
    >>> Budget(5, "merge_rest").one(regions, None).patch.tolist()  # patch 5 stands for 4, 5 and 6
    [0, 1, 2, 3, 5]
    """

    tokens: int
    policy: Literal["largest", "round_robin", "merge_rest"] = "largest"
    of: Literal["rows", "regions"] = "rows"
    version: ClassVar[int] = 1
    leaves_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"needs a budget of at least one token, got tokens={self.tokens}")
        if self.policy == "round_robin" and self.of == "regions":
            raise ValueError(
                "round_robin deals out rows; of='regions' goes with policy='largest' or 'merge_rest'"
            )

    def one(self, regions: Regions, grid: PatchGrid | None) -> Regions:
        """Keep within the budget in one view."""
        sizes = regions.sizes.cpu().numpy()
        cost = sizes if self.of == "rows" else np.ones_like(sizes)
        if cost.sum() <= self.tokens:
            return regions
        if self.policy == "round_robin":
            return _rows(regions, torch.from_numpy(_dealt(sizes, self.tokens)))
        order = np.argsort(-sizes, kind="stable")
        return (
            self._largest(regions, order, cost)
            if self.policy == "largest"
            else self._merged(regions, order, cost)
        )

    def _largest(self, regions: Regions, order: np.ndarray, cost: np.ndarray) -> Regions:
        left, kept = self.tokens, []
        for index in order.tolist():
            if cost[index] <= left:
                kept.append(index)
                left -= cost[index]
        if kept:
            return regions.take(sorted(kept))
        return _rows(regions.take(order[:1].tolist()), torch.tensor([self.tokens]))

    def _merged(self, regions: Regions, order: np.ndarray, cost: np.ndarray) -> Regions:
        """With more regions whole the cost never falls, so the last number that fits is the
        most."""
        device = regions.patch.device
        rank = torch.empty(len(regions), dtype=torch.int64)
        rank[torch.from_numpy(order)] = torch.arange(len(regions))
        # a patch stands in the rest of the first w regions if its smallest region has rank w or
        # more
        lowest = torch.full((regions.patches,), -1).scatter_reduce(
            0, regions.patch.cpu(), rank[regions.region.cpu()], "amax", include_self=True
        )
        gone = torch.bincount(lowest[lowest >= 0], minlength=len(regions)).cumsum(0).numpy()
        union = (
            gone[-1] - np.r_[0, gone[:-1]] if self.of == "rows" else np.ones(len(regions), np.int64)
        )
        total = np.r_[0, cost[order].cumsum()[:-1]] + union
        whole = int((total <= self.tokens).sum()) - 1
        room = None
        if whole < 0:
            whole = int((cost[order].cumsum() < self.tokens).sum())
            room = self.tokens - int(cost[order][:whole].sum())
        rest = (lowest >= whole).nonzero()[:, 0]
        if room is not None:
            rest = rest[_spread(torch.tensor([len(rest)]), torch.tensor([room]))]
        rest = rest.to(device)
        kept = regions.take(sorted(order[:whole].tolist()))
        return Regions(
            torch.cat([kept.patch, rest]),
            torch.cat([kept.region, torch.full_like(rest, whole)]),
            regions.grid,
            torch.cat([kept.source, kept.source.new_full((1,), -1)]),
        )


def _dealt(sizes: Int[np.ndarray, "k"], tokens: int) -> Int[np.ndarray, "k"]:
    """How many rows each region gets; `tokens` are fewer than there are rows."""
    low, high = 0, int(sizes.max())  # the most full rounds that the budget pays
    while low < high:
        rounds = (low + high + 1) // 2
        low, high = (
            (rounds, high) if np.minimum(sizes, rounds).sum() <= tokens else (low, rounds - 1)
        )
    dealt = np.minimum(sizes, low)
    more = np.flatnonzero(sizes > low)[: tokens - dealt.sum()]
    dealt[more] += 1
    return dealt


def _spread(sizes: Int[Tensor, "k"], quota: Int[Tensor, "k"]) -> Int[Tensor, "m"]:
    """Of rows laid region after region the middles of `quota` equal stretches of each region's."""
    first, given = sizes.cumsum(0) - sizes, quota.cumsum(0) - quota
    region = torch.repeat_interleave(torch.arange(len(sizes)), quota)
    turn = torch.arange(len(region)) - given[region]
    return first[region] + (2 * turn + 1) * sizes[region] // (2 * quota[region])


def _rows(regions: Regions, quota: Int[Tensor, "k"]) -> Regions:
    """The regions with `quota` rows each; those that get none are gone."""
    at = _spread(regions.sizes.cpu(), quota).to(regions.patch.device)
    kept: Bool[Tensor, "k"] = quota.to(regions.patch.device) > 0
    rank = kept.cumsum(0) - 1
    return Regions(regions.patch[at], rank[regions.region[at]], regions.grid, regions.source[kept])

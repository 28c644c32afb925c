"""Keep the visual tokens of a view within a budget, by leaving out regions or rows of them.

After: nothing published. OG-LLaVA has no limit (row O2: T = sum of the rows of all masks; 100
random boxes give 16,058 rows of 576 patches), and its release then cuts text and labels at 2,048
tokens.
Differs: a stated policy takes the place of that cut. What is left out is counted in every report
(`left_out`), and the text is never touched. The papers' own recipes have no budget.

The policies, with rows counted (`of="rows"`, what the pool `select` hands on):
    largest       Regions in descending size, each whole if it still fits; one that does not fit is
                  left out and smaller ones are tried. If not even one fits, the largest is thinned
                  to the budget, so that no image is left without a token.
    round_robin   One row of each region in turn, in the order of the regions, until the budget or
                  the rows are spent: exactly min(budget, rows) rows. A region of n rows that is
                  dealt q of them keeps the middles of q equal stretches of its rows, in ascending
                  order: rows floor((2 i + 1) n / 2 q). If the budget is smaller than the number of
                  regions, the first ones get a row each.
    merge_rest    The largest regions whole, and all others merged into one region at the end, with
                  each of their patches once; as many stay whole as fit. A budget of all patches
                  loses no patch that a region held, only repetitions. If the union of all regions
                  is too large by itself, as many stay whole as leave the others a row, and the
                  merged region is thinned as above.
With `of="regions"` (for the pools `mean` and `attend`, where a region is a token) `largest` keeps
the k largest regions, and `merge_rest` the k - 1 largest and one region, so one token, of all
others. Equal sizes go by their order; regions stay in the order they came in.
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
    """Keep at most `tokens` rows (or regions) of a view.

    The tokens in front (`whole`, `cls`) and delimiters are not counted.

    Attributes:
        tokens: the budget of one view.
        policy: the rule by which regions stay; the module's docstring has all three.
        of: the unit that is counted: "rows" (the patches of each region) or "regions".

    Raises:
        ValueError: If the budget is below 1, or "round_robin" is to deal out regions, which are a
            token each already.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 0, 0, 1, 1, 2]]))
    >>> policies = ("largest", "round_robin", "merge_rest")
    >>> [Budget(4, policy).one(regions, None).sizes.tolist() for policy in policies]
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
                "round_robin deals out rows; of='regions' goes with policy='largest' or "
                "'merge_rest'"
            )

    def one(self, regions: Regions, grid: PatchGrid | None) -> Regions:
        """Keep one view within the budget."""
        sizes = regions.sizes.cpu().numpy()
        cost = sizes if self.of == "rows" else np.ones_like(sizes)
        if cost.sum() <= self.tokens:
            return regions
        if self.policy == "round_robin":
            return _thinned(regions, torch.from_numpy(_rows_dealt(sizes, self.tokens)))
        order = np.argsort(-sizes, kind="stable")
        if self.policy == "largest":
            return self._largest(regions, order, cost)
        return self._merge_rest(regions, order, cost)

    def _largest(
        self, regions: Regions, order: Int[np.ndarray, "k"], cost: Int[np.ndarray, "k"]
    ) -> Regions:
        """The policy `largest`; `order` has the regions by descending size."""
        remaining, fitting = self.tokens, []
        for index in order.tolist():
            if cost[index] <= remaining:
                fitting.append(index)
                remaining -= cost[index]
        if fitting:
            return regions.take(sorted(fitting))
        return _thinned(regions.take(order[:1].tolist()), torch.tensor([self.tokens]))

    def _merge_rest(
        self, regions: Regions, order: Int[np.ndarray, "k"], cost: Int[np.ndarray, "k"]
    ) -> Regions:
        """The policy `merge_rest`; `order` has the regions by descending size.

        The cost never falls when one more region stays whole, so the last number of whole regions
        that fits is the largest.
        """
        count = len(regions)
        rank = torch.empty(count, dtype=torch.int64)
        rank[torch.from_numpy(order)] = torch.arange(count)
        # With w whole regions a patch goes to the merged one if its smallest region has rank >= w.
        smallest = torch.full((regions.patches,), -1).scatter_reduce(
            0, regions.patch.cpu(), rank[regions.region.cpu()], "amax", include_self=True
        )
        if self.of == "rows":
            leaving = torch.bincount(smallest[smallest >= 0], minlength=count).cumsum(0).numpy()
            merged_cost = leaving[-1] - np.r_[0, leaving[:-1]]
        else:
            merged_cost = np.ones(count, np.int64)
        total = np.r_[0, cost[order].cumsum()[:-1]] + merged_cost
        whole = int((total <= self.tokens).sum()) - 1
        room = None  # rows left for a merged region that has to be thinned
        if whole < 0:
            whole = int((cost[order].cumsum() < self.tokens).sum())
            room = self.tokens - int(cost[order][:whole].sum())
        merged = (smallest >= whole).nonzero()[:, 0]
        if room is not None:
            merged = merged[_spread(torch.tensor([len(merged)]), torch.tensor([room]))]
        merged = merged.to(regions.patch.device)
        front = regions.take(sorted(order[:whole].tolist()))
        return Regions(
            torch.cat([front.patch, merged]),
            torch.cat([front.region, torch.full_like(merged, whole)]),
            regions.grid,
            torch.cat([front.source, front.source.new_full((1,), -1)]),
        )


def _rows_dealt(sizes: Int[np.ndarray, "k"], tokens: int) -> Int[np.ndarray, "k"]:
    """How many rows each region is dealt; `tokens` are fewer than there are rows."""
    full_rounds, limit = 0, int(sizes.max())
    while full_rounds < limit:  # bisection for the most full rounds that the budget pays
        rounds = (full_rounds + limit + 1) // 2
        if np.minimum(sizes, rounds).sum() <= tokens:
            full_rounds = rounds
        else:
            limit = rounds - 1
    dealt: Int[np.ndarray, "k"] = np.minimum(sizes, full_rounds)
    extra = np.flatnonzero(sizes > full_rounds)[: tokens - dealt.sum()]
    dealt[extra] += 1
    return dealt


def _spread(sizes: Int[Tensor, "k"], quota: Int[Tensor, "k"]) -> Int[Tensor, "m"]:
    """Of rows laid region after region, the middles of `quota` equal stretches of each region."""
    first_row, first_turn = sizes.cumsum(0) - sizes, quota.cumsum(0) - quota
    region = torch.repeat_interleave(torch.arange(len(sizes)), quota)
    turn = torch.arange(len(region)) - first_turn[region]
    return first_row[region] + (2 * turn + 1) * sizes[region] // (2 * quota[region])


def _thinned(regions: Regions, quota: Int[Tensor, "k"]) -> Regions:
    """The regions with `quota` rows each; those whose quota is 0 are left out."""
    device = regions.patch.device
    rows = _spread(regions.sizes.cpu(), quota).to(device)
    stays: Bool[Tensor, "k"] = quota.to(device) > 0
    number = stays.cumsum(0) - 1
    region = number[regions.region[rows]]
    return Regions(regions.patch[rows], region, regions.grid, regions.source[stays])

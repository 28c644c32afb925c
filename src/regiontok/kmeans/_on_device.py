"""The nearest centres on a GPU: the same bound and the same decision, in torch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.kmeans.products import Product, Rounded

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CENTRES = 1 << 16  # of a tile: 0.5 GB of products with 4,096 rows in bfloat16
PAIRS = 1 << 16  # rows and centres that are compared in float64 at once
# libraries may add parts of a product in bfloat16: one rounding more for each
SPLIT = 2.0


@dataclass(frozen=True, eq=False)
class ApproximateScores:
    """Rounded scores of rows and centres, and how far they may be off.

    Attributes:
        product: how they are computed.
        rows: the rounded rows.
        centres: the rounded centres.
        halves: `[K]` float32, half of each centre's square.
        off: `[n]` float32, how far a row's scores may be off.
    """

    product: Product
    rows: Rounded
    centres: Rounded
    halves: Float[Tensor, "K"]
    off: Float[Tensor, "n"]

    def tile(self, first: int) -> Float[Tensor, "n k"]:
        """The scores of `CENTRES` centres from the first on."""
        tile = slice(first, first + CENTRES)
        products = self.product.multiply(self.rows.values, self.centres.values[tile])
        scale = (self.rows.scale * self.centres.scale)[:, None]
        return products.float() * scale - self.halves[tile]


def nearest_on_device(
    rows: Float[Tensor, "n d"],
    centres: Float[Tensor, "K d"],
    halves: Float[Tensor, "K"],
    approximate: ApproximateScores,
    top: int,
) -> tuple[Int[Tensor, "n top"], Float[Tensor, "n top"]]:
    """Numbers and inner products (float64) of the nearest centres of each row.

    Args:
        rows: float32, as they came.
        centres: float32, as they came.
        halves: float64, half of each centre's square.
        approximate: their rounded scores.
        top: how many are sought.
    """
    best = torch.full((len(rows), top), -torch.inf, device=rows.device)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, len(centres), CENTRES):
        scores = approximate.tile(first)
        of_tile = scores.topk(min(top, scores.shape[1]), dim=1).values
        best = torch.cat([best, of_tile], 1).topk(top, dim=1).values
        limit = best[:, -1] - 2 * SPLIT * approximate.off
        row, place = (scores >= limit[:, None]).nonzero(as_tuple=True)
        kept.append((row, place + first, scores[row, place]))
    row, centre, score = (torch.cat(parts) for parts in zip(*kept, strict=True))
    possible = score >= limit[row]
    row, centre = row[possible], centre[possible]
    products = torch.cat(
        [
            (rows[of].double() * centres[to].double()).sum(1)
            for of, to in zip(row.split(PAIRS), centre.split(PAIRS), strict=True)
        ]
    )
    return _first_of_rows(row, centre, products, products - halves[centre], top)


def _first_of_rows(
    row: Tensor, centre: Tensor, products: Tensor, scores: Tensor, top: int
) -> tuple[Tensor, Tensor]:
    """The `top` highest of each row; of equal scores the lower centre stands first."""
    order = centre.argsort(stable=True)
    order = order[scores[order].argsort(descending=True, stable=True)]
    order = order[row[order].argsort(stable=True)]
    in_order = row[order]
    starts = torch.searchsorted(in_order, torch.arange(int(row.max()) + 1, device=row.device))
    chosen = order[starts[:, None] + torch.arange(top, device=row.device)]
    return centre[chosen], products[chosen]

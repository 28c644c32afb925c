"""Which regions of a picture an answer looked at: shares of attention rows, summed by region.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.sizes import ShownBySizes
from regiontok.core.tokens import CLS, REGION, WHOLE, Tokens

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False, repr=False)
class RegionAttention(ShownBySizes):
    """Shares of all attention of an answer: means over its rows, heads and layers.

    Attributes:
        regions: `[k]` float64, the share of each region of one view (all its tokens together).
        whole: share of the whole-image token, which is no region (row D16 leaves it out).
        cls: share of the CLS tokens, which are no regions either.
        other: share of the remaining visual tokens: delimiters, newlines, other views, tokens of no
            region.
        text: share of everything that is not visual, the sequence's first token included.
    """

    regions: Float[Tensor, "k"]
    whole: float
    cls: float
    other: float
    text: float

    @property
    def visual(self) -> float:
        """Share of all visual tokens together."""
        return float(self.regions.sum()) + self.whole + self.cls + self.other

    @property
    def shares(self) -> Float[Tensor, "k"]:
        """`[k]`, each region's share of the attention that goes to visual tokens.

        It is a ratio of means, so that a head which does not look at the picture has no say in it.
        """
        return self.regions / self.visual if self.visual else self.regions


def region_attention(
    rows: Float[Tensor, "layers heads r t"], tokens: Tokens, regions: int, *, view: int = 0
) -> RegionAttention:
    """Which regions of a picture the rows look at.

    Args:
        rows: rows of one sequence, at the columns of ONE picture's tokens, normalised over all
            keys: `watch(..., keys=columns)`.
        tokens: the tokens of that picture, in the same order.
        regions: how many regions the view has; one without a token gets 0.
        view: whose regions are counted; those of other views count as `other`.

    Raises:
        ValueError: If there are more or fewer columns than tokens, no row, or a token of a region
            beyond the last.

    >>> image = torch.tensor([0, 0, 0])
    >>> region, kind = torch.tensor([-1, 0, 1]), torch.tensor([WHOLE, REGION, REGION])
    >>> tokens = Tokens(torch.zeros(3, 2), image, image, region, image - 1, kind, images=1)
    >>> attention = region_attention(torch.tensor([[[[0.25, 0.5, 0.0]]]]), tokens, 2)
    >>> attention.regions.tolist(), attention.whole, attention.text
    ([0.5, 0.0], 0.25, 0.25)
    """
    if rows.ndim != 4 or rows.shape[-1] != len(tokens) or not rows.shape[:-1].numel():
        raise ValueError(
            f"expected rows [layers heads r {len(tokens)}], a column a visual token, got "
            f"{list(rows.shape)}"
        )
    mean = rows.double().flatten(0, 2).mean(0).cpu()
    kind, region = tokens.kind.cpu(), tokens.region.cpu()
    is_region = (kind == REGION) & (tokens.view.cpu() == view) & (region >= 0)
    if bool((region[is_region] >= regions).any()):
        raise ValueError(
            f"a token is of region {int(region[is_region].max())}, but the view has {regions} "
            "regions"
        )
    shares = torch.zeros(regions, dtype=torch.float64)
    shares.index_add_(0, region[is_region], mean[is_region])
    return RegionAttention(
        regions=shares,
        whole=float(mean[kind == WHOLE].sum()),
        cls=float(mean[kind == CLS].sum()),
        other=float(mean[~is_region & (kind != WHOLE) & (kind != CLS)].sum()),
        text=1 - float(mean.sum()),
    )

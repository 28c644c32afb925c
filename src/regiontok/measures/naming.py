"""Name regions in words: a classifier's dense logits averaged over each region.

After: our own measurement (docs/papers/methods.md): one dense pass with regions beats classifying a
crop of each region.
Differs: nothing known; it is in no paper of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from regiontok.core.regions import Regions

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Naming:
    """What a classifier says of one region.

    Attributes:
        name: the best class.
        share: its probability under the averaged logits.
    """

    name: str
    share: float


def name_regions(
    logits: Float[Tensor, "h w c"], regions: Regions, classes: Sequence[str]
) -> list[Naming]:
    """The best class of each region.

    Raises:
        ValueError: If logits lie on another grid, or are of another number of classes.

    >>> import torch
    >>> logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0]]])
    >>> [naming.name for naming in name_regions(logits, Regions.singletons((1, 2)), ("cat", "dog"))]
    ['cat', 'dog']
    """
    if logits.shape[-1] != len(classes):
        raise ValueError(f"{logits.shape[-1]} logits a patch do not fit {len(classes)} classes")
    best = region_logits(logits, regions).softmax(-1).max(-1)
    return [
        Naming(classes[int(index)], float(share))
        for index, share in zip(best.indices, best.values, strict=True)
    ]


def region_logits(logits: Float[Tensor, "h w c"], regions: Regions) -> Float[Tensor, "k c"]:
    """Logits averaged over the patches of each region.

    Raises:
        ValueError: If logits lie on another grid than the regions.
    """
    if tuple(logits.shape[:-1]) != regions.grid:
        raise ValueError(
            f"expected logits on the {regions.grid} grid of the regions, got {list(logits.shape)}"
        )
    flat = logits.flatten(0, -2).float()
    total = flat.new_zeros(len(regions), flat.shape[1])
    total = total.index_add(0, regions.region, flat[regions.patch])
    return total / regions.sizes[:, None]

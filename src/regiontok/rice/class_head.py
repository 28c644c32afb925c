"""The description of a set of classes, and what a step gives of it.

After: RICE, section 3.3 (rows R5, R6): objects have one positive class, texts several.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class ClassHead:
    """One set of classes: objects (one label a region) or OCR tokens (several labels).

    Attributes:
        name: an identifier; it names the centres in checkpoints.
        classes: number of classes, K.
        loss: how cosines become the loss of a region.
        negatives: which centres are negatives in a step.
        weight: weight of this head's mean loss in the sum over heads.

    Raises:
        ValueError: If the name is no identifier, or there is no class.
    """

    name: str
    classes: int
    loss: RegionLoss = field(default_factory=RegionLoss)
    negatives: Negatives = field(default_factory=Negatives)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a head's name is an identifier such as 'object', got {self.name!r}")
        if self.classes < 1:
            raise ValueError(f"head {self.name!r} needs at least one class, got {self.classes}")


@dataclass(frozen=True, eq=False)
class RowGradient:
    """The gradient of a rank's centres, for those rows that a step has touched.

    Attributes:
        rows: `[r]`, counted from the rank's first row, in any order, none twice.
        values: `[r d]`, the gradient of each.
    """

    rows: Int[Tensor, "r"]
    values: Float[Tensor, "r d"]

    def __add__(self, other: RowGradient) -> RowGradient:
        rows, place = torch.cat([self.rows, other.rows]).unique(return_inverse=True)
        values = self.values.new_zeros(len(rows), self.values.shape[1])
        values.index_add_(0, place, torch.cat([self.values, other.values]))
        return RowGradient(rows, values)


@dataclass(frozen=True, eq=False)
class HeadReport:
    """What one head did in a step, over all ranks.

    Attributes:
        loss: mean over the head's regions, without weight and gradient; 0 without regions.
        regions: number of regions that have a label of this head.
        rho: the effective rate: distinct classes used as negatives, over K.
        positive: mean cosine of regions with their positives, before the margin.
    """

    loss: Tensor
    regions: int
    rho: Tensor
    positive: Tensor


@dataclass(frozen=True, eq=False)
class DiscriminationLoss:
    """The result of a step.

    Attributes:
        loss: the weighted sum over heads, to call backward on; the same on every rank.
        heads: the report of each head, by name.
    """

    loss: Tensor
    heads: dict[str, HeadReport]

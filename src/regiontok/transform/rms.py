"""RMS-normalise the features that region steps read, patch by patch, without a learned scale.

After: diagnostic study, section 4.2 (row D7); the trained scale is the head's (`norm="rms"`, with
`partition_on="normed"`).
Differs: nothing known, but for the scale. Cosines of single patches do not change, the MEAN of a
region does: outlier patches no longer rule it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform


@dataclass(frozen=True)
class Rms(Transform):
    """Divide each patch by its root mean square over channels; pooled values stay as they are.

    Attributes:
        eps: added to the mean square.

    Raises:
        ValueError: If eps is not positive.
    """

    eps: float = 1e-6
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(
                f"eps must be positive, or a patch of zeros has no quotient; got {self.eps}"
            )

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view."""
        features = grid.features if grid.features.dtype.itemsize >= 4 else grid.features.float()
        normed = features * torch.rsqrt(features.square().mean(-1, keepdim=True) + self.eps)
        return grid.but(features=normed.to(grid.features.dtype), values=grid.pooled)

"""How far each patch is from the picture's mean, for steps that ask for the attention of CLS.

After: nothing published in this form. PruMerge (arXiv 2403.15388) and VisionZip (arXiv 2412.04467)
    rank patches by the attention of CLS; VisionZip takes the mean attention that a patch receives
    where an encoder has no CLS.
Differs: it asks for no attention at all, so that encoders without any, as `lite` is, can be held
    against others by these steps. What is ranked first is what is unlike the rest of the picture,
    which is not what a trained CLS looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform

_TINY = 1e-12  # of the sum of distances, in a view of one colour


@dataclass(frozen=True)
class Salience(Transform):
    """Set the attention of a view to each patch's distance from the mean of its valid patches.

    Distances are divided by their sum, as attention adds up to 1; padding has 0, and in a view of
    one colour everything has. An attention that the encoder gave is replaced.
    """

    version: ClassVar[int] = 1

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame."""
        features = grid.features.double()
        weights = grid.valid.to(features)[..., None]
        counts = weights.sum((-3, -2), keepdim=True).clamp(min=1)
        means = (features * weights).sum((-3, -2), keepdim=True) / counts
        distances = (features - means).norm(dim=-1) * weights[..., 0]
        shares = distances / distances.sum((-2, -1), keepdim=True).clamp(min=_TINY)
        return grid.but(cls_attention=shares.to(torch.float32))

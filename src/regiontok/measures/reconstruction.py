"""How much of an image's features its tokens keep: the share of variance they explain.

With x_p the feature of patch p, m their mean over the valid patches and y_p the token that stands
for p (the mean of its tokens where regions overlap),

    share = 1 - sum_p |x_p - y_p|^2 / sum_p |x_p - m|^2.

1: every patch is there; 0: no better than one mean token; below 0: worse. It says what mean pooling
loses of what the encoder saw, not what a language model needs: a cut of the features themselves
(`merge`, `tome`) has it easier than one that never uses them, and patches that stay as they are
have it harder than means.

After: the R^2 of a k-means clustering; in no paper of ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.regions import Regions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# The spread, against the patches' own squares, below which they are the same but for rounding: a
# blank picture through an encoder is some 1e-13 (float32).
EQUAL = 1e-11


def variance_explained(
    features: Float[Tensor, "*grid d"],
    tokens: Float[Tensor, "k d"],
    regions: Regions,
    valid: Bool[Tensor, "*grid"] | None = None,
) -> float:
    """The share of one view, in float64; 1 for a uniform view whose tokens are its patches.

    Args:
        features: features of the patches.
        tokens: one token for each region.
        regions: which patches each token stands for; every valid patch lies in one or more. For a
            selection of patches grow them first, say with `cover('nearest')`: a patch left out then
            counts as the nearest one that was selected.
        valid: patches that count; None counts all.

    Returns:
        The share; NaN if all patches are the same, as those of a blank picture, since there is no
        variance to explain.

    Raises:
        ValueError: If shapes do not fit, or no token stands for some valid patch.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 1, 1]]))
    >>> features = torch.tensor([[[0.0], [2.0], [4.0], [6.0]]])
    >>> variance_explained(features, torch.tensor([[1.0], [5.0]]), regions)  # 1 - 4 / 20
    0.8
    """
    width = features.shape[-1]
    fits = features.shape[:-1] == torch.Size(regions.grid)
    if not fits or tokens.shape != (len(regions), width):
        raise ValueError(
            f"expected features [*{list(regions.grid)} d] and tokens [{len(regions)} d], got "
            f"{list(features.shape)} and {list(tokens.shape)}"
        )
    if valid is None:
        valid = torch.ones(regions.grid, dtype=torch.bool, device=features.device)
    uncovered = int((valid & (regions.counts == 0)).sum())
    if uncovered:
        raise ValueError(
            f"no token stands for {uncovered} patches; grow the regions first, say with "
            "cover('nearest')"
        )
    flat = features.detach().double().flatten(0, -2)
    restored = torch.zeros_like(flat).index_add_(
        0, regions.patch, tokens.detach().double()[regions.region]
    )
    restored = restored / regions.counts.flatten().clamp(min=1)[:, None]
    patches, restored = flat[valid.flatten()], restored[valid.flatten()]
    error = float((patches - restored).square().sum())
    spread = float((patches - patches.mean(0)).square().sum())
    if spread <= EQUAL * float(patches.square().sum()):
        return math.nan
    return 1 - error / spread

"""How much of an image's features its tokens keep: the share of variance explained when each patch
is replaced by its token.

With x_p the feature of patch p, m their mean over the valid patches and y_p the token that stands
for p (the mean of its tokens where regions overlap),

    share = 1 - sum_p |x_p - y_p|^2 / sum_p |x_p - m|^2.

1: every patch is there; 0: no better than one mean token; below 0: worse. It says what mean pooling
loses of what the encoder saw, not what a language model needs: a cut of the features themselves
(`merge`, `tome`) has it easier than one that never looked at them, and patches that are kept as
they are have it harder than means.

After: the R^2 of a k-means clustering; in no paper of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from regiontok.core.regions import Regions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def variance_explained(
    features: Float[torch.Tensor, "*grid d"],
    tokens: Float[torch.Tensor, "k d"],
    regions: Regions,
    valid: Bool[torch.Tensor, "*grid"] | None = None,
) -> float:
    """The share of one view, in float64; 1 for a uniform view that its tokens give back.

    Args:
        features: of the patches.
        tokens: one a region.
        regions: which patches each token stands for; every valid patch lies in one or more. For a
            selection of patches grow them first, say with `cover('nearest')`: a patch left out is
            then given back as the nearest one that was kept.
        valid: patches that count; default all.

    Raises:
        ValueError: shapes that do not fit, or a valid patch that no token stands for.

    >>> regions = Regions.from_labels(torch.tensor([[0, 0, 1, 1]]))
    >>> features = torch.tensor([[[0.0], [2.0], [4.0], [6.0]]])
    >>> variance_explained(features, torch.tensor([[1.0], [5.0]]), regions)  # 1 - 4 / 20
    0.8
    """
    if features.shape[:-1] != torch.Size(regions.grid) or tokens.shape != (
        len(regions),
        features.shape[-1],
    ):
        raise ValueError(
            f"expected features [*{list(regions.grid)} d] and tokens [{len(regions)} d], got {list(features.shape)} "
            f"and {list(tokens.shape)}"
        )
    inside = (
        torch.ones(regions.grid, dtype=torch.bool, device=features.device)
        if valid is None
        else valid
    )
    lost = int((inside & (regions.counts == 0)).sum())
    if lost:
        raise ValueError(
            f"no token stands for {lost} patches; grow the regions first, say with cover('nearest')"
        )
    flat, wide = features.detach().double().flatten(0, -2), tokens.detach().double()
    given = torch.zeros_like(flat).index_add_(0, regions.patch, wide[regions.region])
    given = given / regions.counts.flatten().clamp(min=1)[:, None]
    own, given = flat[inside.flatten()], given[inside.flatten()]
    error = float((own - given).square().sum())
    spread = float((own - own.mean(0)).square().sum())
    if spread == 0:
        return 1.0 if error == 0 else -torch.inf
    return 1 - error / spread

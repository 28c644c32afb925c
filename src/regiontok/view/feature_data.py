"""Features as the page shows them: PCA as colours, norms, outliers, and figures of coherence.

Padding has no part in anything: features are cut to the patches that see the photo.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from regiontok.core.grid import PatchGrid
from regiontok.measures.norms import norm_map, norm_metrics, outliers
from regiontok.measures.pca import pca_rgb
from regiontok.measures.smoothness import smoothness_metrics
from regiontok.system.arrays import packed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# of the metrics, those that are shown, with what they are called there
FIGURES = {
    "neighbour_cosine": "Neighbours alike",
    "far_cosine": "Any two alike",
    "neighbour_gain": "Neighbours beyond any two",
    "norm_spread": "Spread of norms",
    "outlier_share": "Share of outliers",
    "outlier_peak": "Largest norm over median",
}


def feature_data(grid: PatchGrid) -> dict[str, Any]:
    """The maps and figures of one view, or of all frames of a clip on one scale.

    Args:
        grid: the view's grid, with all transforms applied.
    """
    frames = _frames(grid)
    seen = [_seen(grid, features) for features in frames]
    norms = torch.stack([norm_map(features) for features in seen])
    colours = torch.stack(pca_rgb(seen, joint=True))
    return {
        "width": grid.features.shape[-1],
        "norms": packed(_spread(grid, norms), "float32"),
        "outliers": packed(_spread(grid, outliers(norms).float()), "uint8"),
        "pca": packed((_spread(grid, colours) * 255).round(), "uint8"),
        "figures": figures(seen, norms),
    }


def figures(
    frames: list[Float[Tensor, "h w d"]], norms: Float[Tensor, "b h w"]
) -> dict[str, float | None]:
    """The figures of `FIGURES`: means over frames, None where there is nothing to measure."""
    smooth = [smoothness_metrics(features) for features in frames]
    means = {name: sum(frame[name] for frame in smooth) / len(smooth) for name in smooth[0]}
    metrics = {**means, **norm_metrics(norms)}
    return {name: metrics[name] if math.isfinite(metrics[name]) else None for name in FIGURES}


def _frames(grid: PatchGrid) -> list[Float[Tensor, "h w d"]]:
    features = grid.features.detach().float().cpu()
    return list(features) if features.ndim == 4 else [features]


def _seen(grid: PatchGrid, values: Tensor) -> Tensor:
    """Values `[h w ...]` cut to the rectangle of patches that see the photo."""
    rows, columns = grid.frame.valid.any(1), grid.frame.valid.any(0)
    return values[rows][:, columns]


def _spread(grid: PatchGrid, values: Float[Tensor, "b y x *rest"]) -> Float[Tensor, "n *rest"]:
    """Values of the seen patches of all frames on the whole grid; 0 at all others."""
    whole = values.new_zeros(values.shape[0], *grid.frame.grid, *values.shape[3:])
    rows, columns = (grid.frame.valid.any(axis).nonzero()[:, 0] for axis in (1, 0))
    whole[:, rows[:, None], columns[None, :]] = values
    return whole.flatten(0, 2)

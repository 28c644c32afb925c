"""Norms of patch features: spread, outliers, and whether outliers sit at fixed positions.

After: Darcet et al., "Vision Transformers Need Registers", ICLR 2024, section 2 (high-norm
    patches); the diagnostic study, section 4.1 and figure 3 (finding 3; row D20), which shows norm
    maps and gives no number.
Differs: Darcet cuts at a fixed norm that suits one model's histogram; the cut here is relative to
    the median of each image, so that one definition serves every encoder, layer and scale.
    `outlier_fixed` is ours.

A view's padding must be cut off first: patches that see nothing have norms of their own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._cosines import checked_features

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

DEVIATIONS = 6.0  # an outlier lies so many robust standard deviations above the median, ...
# ... and has so many medians: where all norms are nearly equal, six tiny deviations are no artifact
RATIO = 1.5
# Norms that deviate by less than this share of their mean are equal: after RMS normalisation in
# bfloat16 it is rounding.
EQUAL = 1e-3
TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def norm_map(features: Float[Tensor, "h w d"]) -> Float[Tensor, "h w"]:
    """The L2 norm of every patch, in float64.

    Raises:
        ValueError: If features are not `[h w d]`, or are NaN or infinite.

    >>> norm_map(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])).tolist()
    [[5.0, 1.0]]
    """
    norms: Tensor = checked_features(features).norm(dim=-1)
    return norms


def outliers(maps: Float[Tensor, "b h w"]) -> Bool[Tensor, "b h w"]:
    """Patches whose norm is above max(median + 6 x 1.4826 x MAD, 1.5 x median) of their own image.

    MAD is the median absolute deviation from the median. At most half of an image's patches can be
    outliers; scaling the features changes nothing. If the median is zero (more than half of the
    patches are zero), every larger norm is an outlier.

    Raises:
        ValueError: If maps are not `[b h w]`, or a norm is NaN, infinite or negative.
    """
    flat = _checked(maps).flatten(1)
    median = _quantile(flat, 0.5)
    deviation = TO_SIGMA * _quantile((flat - median).abs(), 0.5)
    limit = torch.maximum(median + DEVIATIONS * deviation, RATIO * median)
    return (flat > limit).view(maps.shape)


def outlier_positions(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "h w"]:
    """The share of images in which each position is an outlier, 0 to 1.

    Raises:
        ValueError: If `outliers` refuses the maps.
    """
    return outliers(maps).double().mean(0)


def norm_metrics(maps: Float[Tensor, "b h w"]) -> dict[str, float]:
    """Numbers of the norm maps of b images on one grid; images of several shapes are several calls.

    Every image counts the same. Norms of an image are called x, n = h w is their number, quantiles
    are interpolated linearly.

    Returns:
        Seven numbers, NaN where there is nothing to measure: ratios of zero medians, no outlier,
        fewer than two images with outliers.

        - `norm_median`: mean over images of median(x), in the encoder's own units.
        - `norm_spread`: mean over images of (q75 - q25) / median.
        - `norm_kurtosis`: mean over images of mean((x - mean)^4) / mean((x - mean)^2)^2 - 3; 0 for
          a normal distribution, -2 at the least; one outlier among n equal norms gives about n - 5.
          An image whose norms deviate by less than 1e-3 of their mean is left out.
        - `outlier_share`: outliers / n, over all images.
        - `outlier_peak`: mean over images of max(x) / median(x).
        - `outlier_fixed`: over all pairs of images, with O the outliers of an image:
          sum(|Oi & Oj| - |Oi| |Oj| / n) / sum(min(|Oi|, |Oj|) - |Oi| |Oj| / n). 1: the smaller set
          always lies in the larger (position artifacts); 0: no more in common than by chance (they
          move with content, as registers do). Slightly negative values are chance.
        - `outlier_border`: share of outliers on the outermost ring of patches, over all images; by
          chance it would be the ring's share of the grid, 1 - (h - 2) (w - 2) / (h w).

    Raises:
        ValueError: If `outliers` refuses the maps.
    """
    flat, is_outlier = _checked(maps).flatten(1), outliers(maps)
    median = _quantile(flat, 0.5)
    scale = torch.where(median > 0, median, torch.nan)
    quartiles = _quantile(flat, 0.75) - _quantile(flat, 0.25)
    count = int(is_outlier.sum())
    on_border = int((is_outlier & _ring(maps.shape[1:]).to(is_outlier.device)).sum())
    return {
        "norm_median": float(median.mean()),
        "norm_spread": _mean(quartiles / scale),
        "norm_kurtosis": _mean(_kurtosis(flat)),
        "outlier_share": count / is_outlier.numel(),
        "outlier_peak": _mean(flat.amax(1, keepdim=True) / scale),
        "outlier_fixed": _agreement(is_outlier.flatten(1)),
        "outlier_border": on_border / count if count else math.nan,
    }


def _checked(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(
            f"expected norm maps [b h w] of one grid, without an empty axis; got {list(maps.shape)}"
        )
    if not bool(torch.isfinite(maps).all()) or bool((maps < 0).any()):
        raise ValueError(
            "norm maps must be finite and not negative; norm_map makes them from features"
        )
    return maps.double()


def _quantile(flat: Float[Tensor, "b n"], q: float) -> Float[Tensor, "b 1"]:
    """A quantile of each row, by sorting: torch.quantile refuses more than 16 million values."""
    ordered = flat.sort(1).values
    place = q * (flat.shape[1] - 1)
    lower, upper = math.floor(place), math.ceil(place)
    return ordered[:, lower : lower + 1].lerp(ordered[:, upper : upper + 1], place - lower)


def _kurtosis(flat: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """The excess kurtosis of each row, NaN where values are equal."""
    centred = flat - flat.mean(1, keepdim=True)
    variance = centred.square().mean(1)
    varies = variance.sqrt() > EQUAL * flat.mean(1)
    kurtosis = centred.pow(4).mean(1) / torch.where(varies, variance, 1).square() - 3
    return torch.where(varies, kurtosis, torch.nan)


def _agreement(is_outlier: Bool[Tensor, "b n"]) -> float:
    """The agreement of the images' outlier positions, corrected for chance.

    Its sums over pairs of images come from counts, without going through the pairs.
    """
    images, n = is_outlier.shape
    sizes = is_outlier.sum(1).sort().values.double()
    votes = is_outlier.sum(0).double()
    common = (votes * (votes - 1)).sum() / 2
    chance = (sizes.sum().square() - sizes.square().sum()) / 2 / n
    # Sizes rise: each is the smaller one of its pairs with all that follow.
    largest = (sizes * torch.arange(images - 1, -1, -1, device=sizes.device)).sum()
    return float((common - chance) / (largest - chance)) if largest > chance else math.nan


def _ring(grid: tuple[int, ...]) -> Bool[Tensor, "h w"]:
    """The outermost patches of a grid."""
    ring = torch.ones(tuple(grid), dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return ring


def _mean(values: Tensor) -> float:
    return float(values.nanmean())

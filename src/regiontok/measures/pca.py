"""PCA of patch features to RGB: the three directions of largest variance, sign-fixed, on one scale
for all images.

After: Oquab et al., "DINOv2", 2023, figure 1 (joint PCA, foreground by the first component); the
    diagnostic study, figures 3 and 7 and the supplement's figure 2 (row D18).
Differs: signs are fixed (eigenvectors have none); colours end at the 1 % and 99 % quantiles instead
    of at the extremes, so that a single outlier patch does not leave the rest grey; DINOv2 turns
    the first component by hand, here the border is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._directions import wide

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CLIP = 0.01  # share of patches at either end of a colour that are cut


def pca_rgb(
    features: Sequence[Float[Tensor, "h w d"]], joint: bool = True, foreground: bool = False
) -> list[Float[Tensor, "h w 3"]]:
    """Colours of every patch, 0 to 1.

    Components are eigenvectors of the covariance of all patches of all images (`joint`), or of each
    image by itself; exact, in float64. Each is turned so that its largest loading is positive, then
    the 1 % and 99 % quantiles of its scores become 0 and 1. A component without variance is 0.5.
    The order of the images changes nothing.

    With `foreground`, patches whose score on the first component of all patches is on the border's
    side of the mean are black, and the colours are three components of the others. The border's
    side is the one on which the outermost ring of patches has its mean score.

    Args:
        features: of each image; grids may differ, the width may not.
        joint: one PCA and one scale for all images, so that equal colours mean equal features.
        foreground: colour the foreground only.

    Raises:
        ValueError: not `[h w d]`, several widths, NaN or infinity.
    """
    exact = [wide(one) for one in features]
    if len({one.shape[-1] for one in exact}) > 1:
        raise ValueError(
            f"images of one encoder have one width, got {sorted({one.shape[-1] for one in exact})}"
        )
    if not exact:
        return []
    if not joint:
        return [_colours([one], foreground)[0] for one in exact]
    return _colours(exact, foreground)


def _colours(images: list[Tensor], foreground: bool) -> list[Tensor]:
    flat = torch.cat([one.flatten(0, 1) for one in images])
    shown = (
        _foreground(flat, images)
        if foreground
        else torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    )
    colours = torch.zeros(len(flat), 3).to(flat)
    if bool(shown.any()):
        colours[shown] = _scaled(_scores(flat[shown], 3))
    parts = colours.split([one.shape[:2].numel() for one in images])
    return [part.view(*one.shape[:2], 3) for part, one in zip(parts, images, strict=True)]


def _scores(flat: Float[Tensor, "n d"], components: int) -> Float[Tensor, "n c"]:
    """Scores on the leading components; columns of zeros beyond the width, and where only rounding
    varies."""
    level = flat.abs().max()
    centred = (flat - flat.mean(0)) / torch.where(level > 0, level, 1)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    vectors = vectors[:, values > 1e-20].flip(1)[:, :components]
    if vectors.shape[1]:
        loadings = torch.round(
            vectors.abs() * 2**20
        )  # the first of equal loadings decides, not rounding
        vectors = vectors * vectors.gather(0, loadings.argmax(0, keepdim=True)).sign()
    scores = centred @ vectors
    return torch.cat([scores, scores.new_zeros(len(scores), components - scores.shape[1])], 1)


def _scaled(scores: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    ranked = scores.sort(0).values
    cut = round(CLIP * (len(ranked) - 1))
    low, high = ranked[cut], ranked[len(ranked) - 1 - cut]
    flat = high <= low
    return torch.where(flat, 0.5, ((scores - low) / torch.where(flat, 1, high - low)).clamp(0, 1))


def _foreground(flat: Float[Tensor, "n d"], images: list[Tensor]) -> Bool[Tensor, " n"]:
    first = _scores(flat, 1)[:, 0]
    rings = [torch.ones(one.shape[:2], dtype=torch.bool, device=flat.device) for one in images]
    for ring in rings:
        ring[1:-1, 1:-1] = False
    border = torch.cat([ring.flatten() for ring in rings])
    return first * first[border].mean() < 0

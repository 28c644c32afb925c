"""PCA of patch features to RGB: three directions of largest variance on one scale for all images.

After: Oquab et al., "DINOv2", 2023, figure 1 (joint PCA, foreground by the first component); the
    diagnostic study, figures 3 and 7 and the supplement's figure 2 (row D18).
Differs: signs are fixed (eigenvectors have none); colours end at the 1 % and 99 % quantiles instead
    of at the extremes, so that a single outlier patch does not leave all others grey; DINOv2 turns
    the first component by hand, here the border is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._cosines import checked_features

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
    side is the side of the mean score of the outermost ring of patches.

    Args:
        features: features of each image; grids may differ, the width may not.
        joint: True makes one PCA and one scale for all images, so that equal colours mean equal
            features.
        foreground: True colours the foreground only.

    Raises:
        ValueError: If features are not `[h w d]`, have several widths, or are NaN or infinite.
    """
    images = [checked_features(image) for image in features]
    widths = sorted({image.shape[-1] for image in images})
    if len(widths) > 1:
        raise ValueError(f"images of one encoder have one width, got {widths}")
    if not images:
        return []
    if not joint:
        return [_colours([image], foreground)[0] for image in images]
    return _colours(images, foreground)


def _colours(
    images: list[Float[Tensor, "h w d"]], foreground: bool
) -> list[Float[Tensor, "h w 3"]]:
    """The colours of images that share one PCA."""
    flat = torch.cat([image.flatten(0, 1) for image in images])
    if foreground:
        coloured = _foreground(flat, images)
    else:
        coloured = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    colours = torch.zeros(len(flat), 3).to(flat)
    if bool(coloured.any()):
        colours[coloured] = _scaled(_scores(flat[coloured], 3))
    grids = [image.shape[:2] for image in images]
    by_image = colours.split([grid.numel() for grid in grids])
    return [colour.view(*grid, 3) for colour, grid in zip(by_image, grids, strict=True)]


def _scores(flat: Float[Tensor, "n d"], components: int) -> Float[Tensor, "n c"]:
    """The scores on the leading components.

    Columns are zeros beyond the width, and where only rounding varies.
    """
    level = flat.abs().max()
    centred = (flat - flat.mean(0)) / torch.where(level > 0, level, 1)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    vectors = vectors[:, values > 1e-20].flip(1)[:, :components]
    scores = centred @ signed(vectors)
    return torch.cat([scores, scores.new_zeros(len(scores), components - scores.shape[1])], 1)


def signed(vectors: Float[Tensor, "d c"]) -> Float[Tensor, "d c"]:
    """Each vector turned so that its largest loading is positive: eigenvectors have no sign.

    >>> signed(torch.tensor([[0.6], [-0.8]])).tolist()
    [[-0.6000000238418579], [0.800000011920929]]
    """
    if not vectors.shape[1]:
        return vectors
    # Rounded, so that the first of equal loadings decides.
    loadings = torch.round(vectors.abs() * 2**20)
    return vectors * vectors.gather(0, loadings.argmax(0, keepdim=True)).sign()


def _scaled(scores: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Scores with their two outer quantiles at 0 and 1."""
    ordered = scores.sort(0).values
    cut = round(CLIP * (len(ordered) - 1))
    lower, upper = ordered[cut], ordered[len(ordered) - 1 - cut]
    constant = upper <= lower
    scaled = (scores - lower) / torch.where(constant, 1, upper - lower)
    return torch.where(constant, 0.5, scaled.clamp(0, 1))


def _foreground(
    flat: Float[Tensor, "n d"], images: list[Float[Tensor, "h w d"]]
) -> Bool[Tensor, " n"]:
    """The patches on the other side of the first component's mean than the border."""
    score = _scores(flat, 1)[:, 0]
    rings = [torch.ones(image.shape[:2], dtype=torch.bool, device=flat.device) for image in images]
    for ring in rings:
        ring[1:-1, 1:-1] = False
    border = torch.cat([ring.flatten() for ring in rings])
    return score * score[border].mean() < 0

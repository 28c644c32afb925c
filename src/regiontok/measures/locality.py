"""Locality of patch features: what far pixels change in a patch, and whether position shows.

After: the diagnostic study, section 4.1 (assumption 1: a feature is about its own patch) and
    findings 1 and 4 (position can be told from the features; row D20), which give no number of
    their own.
Differs: the numbers are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._cosines import checked_features, unit_vectors

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of standardised features, whose mean eigenvalue is 1


def far_change(
    original: Float[Tensor, "h w d"],
    changed: Float[Tensor, "h w d"],
    touched: Bool[Tensor, "h w"],
    margin: int = 1,
) -> dict[str, float]:
    """How much features change where the pixels did not, when other pixels of the image changed.

    The change of a patch is 1 - cos(original, changed) = |u - v|^2 / 2 of the unit vectors: 0 to 2.

    Args:
        original: features of the image as it is.
        changed: features of the image with some pixels changed.
        touched: patches that see a changed pixel.
        margin: number of patches beside the touched ones that count as near.

    Returns:
        Three numbers, NaN where there is nothing to measure: no patch is far, or (for `leak`)
        nothing changed.

        - `far_change`: mean over patches at a Chebyshev distance above `margin` from every touched
          patch; 0 for a local encoder.
        - `near_change`: mean over all other patches, the touched ones too.
        - `leak`: far_change / near_change; 0 for a local encoder, 1 if what happens anywhere
          happens everywhere.

    Raises:
        ValueError: If shapes do not fit, features are NaN or infinite, no patch is touched, or the
            margin is negative.
    """
    fits = original.shape == changed.shape and touched.shape == original.shape[:2]
    if not fits or touched.dtype != torch.bool:
        raise ValueError(
            "expected two features [h w d] and touched as bool [h w] of one grid, got "
            f"{list(original.shape)}, {list(changed.shape)} and {touched.dtype} "
            f"{list(touched.shape)}"
        )
    if margin < 0 or not bool(touched.any()):
        raise ValueError(
            f"expected a margin of 0 or more and a touched patch; got margin {margin}, "
            f"{int(touched.sum())} touched"
        )
    change = (unit_vectors(original) - unit_vectors(changed)).square().sum(-1) / 2
    window = 2 * margin + 1
    widened = torch.nn.functional.max_pool2d(
        touched[None].float(), window, stride=1, padding=margin
    )
    is_near = widened[0].bool().to(change.device)
    far_mean = float(change[~is_near].mean()) if bool((~is_near).any()) else math.nan
    near_mean = float(change[is_near].mean())
    return {
        "far_change": far_mean,
        "near_change": near_mean,
        "leak": far_mean / near_mean if near_mean else math.nan,
    }


def position_readout(
    grids: Sequence[Float[Tensor, "h w d"]], folds: int = 5, ridge: float | Sequence[float] = RIDGES
) -> dict[str, float]:
    """Where a patch lies, by ridge regression on its feature alone, on images held out.

    Targets are the row and the column, -1 to 1. Image i is held out in fold i mod `folds`; features
    are standardised by the mean and deviation of the fold's training patches (a channel that does
    not vary is left out), and the weights are the closed form (X'X / n + ridge I)^-1 X'y / n in
    float64. Of several ridges each fold takes the one that does best on its next fold when trained
    on all other folds, for both targets together, and is then trained on all folds but itself; with
    two folds there are no others, and it takes the middle one of the list.

    Args:
        grids: features of the images, all of one shape.
        folds: number of folds.
        ridge: a ridge, or several to choose from.

    Returns:
        `position_r2_y` and `position_r2_x`: 1 - sum (y - y^)^2 / sum y^2 over all held-out patches.
        1: position is there, linearly; about 0: it is not, or cannot be found with so few images;
        below 0: noise was fitted. NaN with fewer than two images, or along an axis with one row or
        column.

    Raises:
        ValueError: If features are not `[h w d]` of one shape, or are NaN or infinite, if there are
            fewer than two folds, or a ridge is not positive.
    """
    ridges = (float(ridge),) if isinstance(ridge, int | float) else tuple(ridge)
    if folds < 2 or not ridges or not all(candidate > 0 for candidate in ridges):
        raise ValueError(
            f"expected 2 folds or more and a positive ridge; got folds {folds}, ridge {ridge}"
        )
    shapes = sorted({tuple(grid.shape) for grid in grids})
    if len(shapes) > 1:
        raise ValueError(
            f"expected features [h w d] of one shape, got {len(shapes)}: {shapes[0]}, "
            f"{shapes[1]} ..."
        )
    if len(grids) < 2:
        return {"position_r2_y": math.nan, "position_r2_x": math.nan}
    images = [checked_features(grid).flatten(0, 1) for grid in grids]
    h, w = grids[0].shape[:2]
    target = torch.cartesian_prod(_coordinates(h), _coordinates(w)).to(images[0])
    # Any fixed point would do: it takes the common mean off, so that squares keep their digits.
    origin = images[0].mean(0)
    moments = [
        _Moments.of([image - origin for image in images[fold::folds]], target)
        for fold in range(min(folds, len(images)))
    ]
    error = torch.zeros_like(target)
    for fold in range(len(moments)):
        weights, mean = _joined(moments, without={fold}).fit(_best_ridge(moments, fold, ridges))
        for image in images[fold::folds]:
            error += ((image - origin - mean) @ weights - target).square()
    total = len(images) * target.square().sum(0)  # 0 along an axis of one patch
    score = torch.where(total > 0, 1 - error.sum(0) / total, torch.nan)
    return {"position_r2_y": float(score[0]), "position_r2_x": float(score[1])}


def _coordinates(size: int) -> Float[Tensor, "n"]:
    """Coordinates of the patches of an axis, -1 to 1; 0 for a single one."""
    if size > 1:
        return torch.linspace(-1, 1, size, dtype=torch.float64)
    return torch.zeros(1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class _Moments:
    """What ridge regression needs of some images.

    Attributes:
        n: number of patches.
        total: sum of the features x.
        squares: sum of x x'.
        cross: sum of x y', y the two targets.
    """

    n: int
    total: Float[Tensor, " d"]
    squares: Float[Tensor, "d d"]
    cross: Float[Tensor, "d 2"]

    @classmethod
    def of(cls, images: list[Tensor], target: Float[Tensor, "p 2"]) -> _Moments:
        """The moments of images whose patches have these targets."""
        x = torch.cat(images)
        return cls(len(x), x.sum(0), x.T @ x, torch.stack(images).sum(0).T @ target)

    def fit(self, ridge: float) -> tuple[Float[Tensor, "d 2"], Float[Tensor, " d"]]:
        """The weights for centred features, and the features' mean.

        Targets have mean zero over every image, so there is no intercept.
        """
        mean = self.total / self.n
        covariance = self.squares / self.n - mean[:, None] * mean
        deviation = covariance.diagonal().clamp(min=0).sqrt()
        constant = deviation <= 1e-6 * deviation.max()
        scale = torch.where(constant, 0, 1 / torch.where(constant, 1, deviation))
        system = covariance * scale[:, None] * scale
        system.diagonal().add_(ridge)
        weights = torch.linalg.solve(system, scale[:, None] * self.cross / self.n)
        return scale[:, None] * weights, mean

    def error(self, weights: Float[Tensor, "d 2"], mean: Float[Tensor, " d"]) -> float:
        """The sum of squared errors, less that of predicting nothing."""
        shift = self.total[:, None] * mean
        squares = self.squares - shift - shift.T + self.n * mean[:, None] * mean
        # The targets' sum is zero, so centring leaves `cross` as it is.
        return float(((squares @ weights - 2 * self.cross) * weights).sum())


def _joined(moments: Sequence[_Moments], *, without: set[int]) -> _Moments:
    """The moments of all folds but some."""
    folds = [fold for number, fold in enumerate(moments) if number not in without]
    return _Moments(
        n=sum(fold.n for fold in folds),
        total=torch.stack([fold.total for fold in folds]).sum(0),
        squares=torch.stack([fold.squares for fold in folds]).sum(0),
        cross=torch.stack([fold.cross for fold in folds]).sum(0),
    )


def _best_ridge(moments: Sequence[_Moments], fold: int, ridges: tuple[float, ...]) -> float:
    """The ridge that does best on the fold after `fold`, trained on all folds but those two."""
    if len(ridges) == 1 or len(moments) < 3:
        return ridges[len(ridges) // 2]
    next_fold = (fold + 1) % len(moments)
    others = _joined(moments, without={fold, next_fold})
    return min(ridges, key=lambda ridge: moments[next_fold].error(*others.fit(ridge)))

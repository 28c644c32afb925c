"""Locality of patch features: what far pixels change in a patch, and whether features tell where
they are.

After: the diagnostic study, section 4.1 (assumption 1: a feature is about its own patch) and
    findings 1 and 4 (position is read off the features; row D20), which give no number of their
    own.
Differs: the numbers are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.measures._directions import directions, wide

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of standardised features, whose mean eigenvalue is 1


def far_change(
    before: Float[Tensor, "h w d"],
    after: Float[Tensor, "h w d"],
    touched: Bool[Tensor, "h w"],
    margin: int = 1,
) -> dict[str, float]:
    """How much features change where the pixels did not, when other pixels of the image changed.

    The change of a patch is 1 - cos(before, after) = |u - v|^2 / 2 of the unit vectors: 0 to 2.

    - `far_change`: mean over patches at a Chebyshev distance above `margin` from every touched
    patch. 0 for a local encoder.
    - `near_change`: mean over all other patches, the touched ones too.
    - `leak`: far_change / near_change: 0 local; 1: what happens anywhere happens everywhere.

    Args:
        before, after: features of the image as it is and with some pixels changed.
        touched: patches that see a changed pixel.
        margin: patches beside the touched ones that count as near.

    NaN where there is nothing to measure: no patch is far, or nothing changed (`leak`).

    Raises:
        ValueError: shapes that do not fit, NaN or infinity, no touched patch, a negative margin.
    """
    if (
        before.shape != after.shape
        or touched.shape != before.shape[:2]
        or touched.dtype != torch.bool
    ):
        shapes = (
            f"{list(before.shape)}, {list(after.shape)} and {touched.dtype} {list(touched.shape)}"
        )
        raise ValueError(
            f"expected two features [h w d] and touched as bool [h w] of one grid, got {shapes}"
        )
    if margin < 0 or not bool(touched.any()):
        raise ValueError(
            f"expected a margin of 0 or more and a touched patch; got margin {margin}, {int(touched.sum())} touched"
        )
    change = (directions(before) - directions(after)).square().sum(-1) / 2
    window = 2 * margin + 1
    near = (
        torch.nn.functional.max_pool2d(touched[None].float(), window, stride=1, padding=margin)[0]
        .bool()
        .to(change.device)
    )
    far_mean = float(change[~near].mean()) if bool((~near).any()) else math.nan
    near_mean = float(change[near].mean())
    return {
        "far_change": far_mean,
        "near_change": near_mean,
        "leak": far_mean / near_mean if near_mean else math.nan,
    }


def position_readout(
    grids: Sequence[Float[Tensor, "h w d"]], folds: int = 5, ridge: float | Sequence[float] = RIDGES
) -> dict[str, float]:
    """Where a patch lies, by ridge regression on its feature alone, on images that the regression
    has not seen.

    Targets are the row and the column, -1 to 1. Image i is held out in fold i mod `folds`; features
    are standardised by the mean and deviation of the fold's training patches (a channel that does
    not vary is left out), and the weights are the closed form (X'X / n + ridge I)^-1 X'y / n in
    float64. Of several ridges each fold takes the one that does best on its next fold when trained
    on the rest, for both targets together, and is then trained on all but itself; with two folds
    there is no rest, and it takes the middle one of the list.

    - `position_r2_y`, `position_r2_x`: 1 - sum (y - y^)^2 / sum y^2 over all held-out patches. 1:
      position is there, linearly; about 0: it is not, or not to be found with so few images; below
      0: noise was fitted.

    NaN with fewer than two images, or along an axis with one row or column.

    Raises:
        ValueError: not `[h w d]` of one shape, NaN or infinity, fewer than two folds, a ridge that
            is not positive.
    """
    ridges = (float(ridge),) if isinstance(ridge, int | float) else tuple(ridge)
    if folds < 2 or not ridges or not all(one > 0 for one in ridges):
        raise ValueError(
            f"expected 2 folds or more and a positive ridge; got folds {folds}, ridge {ridge}"
        )
    if len({tuple(one.shape) for one in grids}) > 1:
        shapes = sorted({tuple(one.shape) for one in grids})
        raise ValueError(
            f"expected features [h w d] of one shape, got {len(shapes)}: {shapes[0]}, {shapes[1]} ..."
        )
    if len(grids) < 2:
        return {"position_r2_y": math.nan, "position_r2_x": math.nan}
    flat = [wide(one).flatten(0, 1) for one in grids]
    h, w = grids[0].shape[:2]
    target = torch.cartesian_prod(_axis(h), _axis(w)).to(flat[0])
    centre = flat[0].mean(
        0
    )  # any fixed point: it takes the common mean off before squares are summed
    moments = [
        _Moments.of([one - centre for one in flat[fold::folds]], target)
        for fold in range(min(folds, len(flat)))
    ]
    error = torch.zeros_like(target)
    for fold in range(len(moments)):
        weights, middle = _sum(moments, {fold}).fit(_choose(moments, fold, ridges))
        for one in flat[fold::folds]:
            error += ((one - centre - middle) @ weights - target).square()
    total = len(flat) * target.square().sum(0)  # 0 along an axis of one patch
    score = torch.where(total > 0, 1 - error.sum(0) / total, torch.nan)
    return {"position_r2_y": float(score[0]), "position_r2_x": float(score[1])}


def _axis(size: int) -> Tensor:
    return (
        torch.linspace(-1, 1, size, dtype=torch.float64)
        if size > 1
        else torch.zeros(1, dtype=torch.float64)
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """What ridge regression needs of some images: patches, and sums of x, of x x' and of x y'."""

    n: int
    total: Float[Tensor, " d"]
    squares: Float[Tensor, "d d"]
    cross: Float[Tensor, "d 2"]

    @classmethod
    def of(cls, images: list[Tensor], target: Tensor) -> _Moments:
        x = torch.cat(images)
        return cls(len(x), x.sum(0), x.T @ x, torch.stack(images).sum(0).T @ target)

    def fit(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weights `[d 2]` for centred features, and their mean. Targets have mean zero over every
        image, so there is no intercept."""
        mean = self.total / self.n
        covariance = self.squares / self.n - mean[:, None] * mean
        deviation = covariance.diagonal().clamp(min=0).sqrt()
        still = deviation <= 1e-6 * deviation.max()
        scale = torch.where(still, 0, 1 / torch.where(still, 1, deviation))
        system = covariance * scale[:, None] * scale
        system.diagonal().add_(ridge)
        return scale[:, None] * torch.linalg.solve(
            system, scale[:, None] * self.cross / self.n
        ), mean

    def error(self, weights: Tensor, middle: Tensor) -> float:
        """Sum of squared errors, less that of predicting nothing."""
        moved = self.total[:, None] * middle
        squares = self.squares - moved - moved.T + self.n * middle[:, None] * middle
        return float(
            ((squares @ weights - 2 * self.cross) * weights).sum()
        )  # the targets' sum is zero: centring leaves cross as it is


def _sum(moments: Sequence[_Moments], without: set[int]) -> _Moments:
    kept = [one for place, one in enumerate(moments) if place not in without]
    return _Moments(
        sum(one.n for one in kept),
        torch.stack([one.total for one in kept]).sum(0),
        torch.stack([one.squares for one in kept]).sum(0),
        torch.stack([one.cross for one in kept]).sum(0),
    )


def _choose(moments: Sequence[_Moments], fold: int, ridges: tuple[float, ...]) -> float:
    if len(ridges) == 1 or len(moments) < 3:
        return ridges[len(ridges) // 2]
    beside = (fold + 1) % len(moments)
    rest = _sum(moments, {fold, beside})
    return min(ridges, key=lambda one: moments[beside].error(*rest.fit(one)))

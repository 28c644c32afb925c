"""Linear probes: logistic regression or ridge regression on frozen features.

After: the linear evaluation of self-supervised encoders (Chen et al. 2020, arXiv:2002.05709; Oquab
et al. 2023, arXiv:2304.07193), on regions in place of images.
Differs: one convex fit, to its optimum, in place of a schedule of stochastic gradients; features
are standardised by the training rows, and the strength of the L2 penalty is chosen on a part of the
training images that the fit does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from regiontok.measures.knn import LabelledRegions

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Kind = Literal["logistic", "ridge"]
# The strengths of the penalty that are tried, from the strongest: a fit starts at the one before.
STRENGTHS = (1.0, 0.1, 0.01, 0.001, 0.0001)
HELD_OUT = 0.25  # share of the training images on which the strength is chosen
ITERATIONS = 100  # of L-BFGS at most, for each strength


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted linear classifier.

    Attributes:
        mean: `[d]`, what is taken off features.
        scale: `[d]`, what they are then divided by.
        weights: `[d c]`.
        bias: `[c]`.
        classes: `[c]`, the label of each column.
        strength: the strength of the penalty.
    """

    mean: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]
    weights: Float[Tensor, "d c"]
    bias: Float[Tensor, "c"]
    classes: Int[Tensor, "c"]
    strength: float

    def predict(self, features: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        """The label of each row."""
        rows = (features.float() - self.mean) / self.scale
        return self.classes[(rows @ self.weights + self.bias).argmax(1)]


def fit_linear(
    train: LabelledRegions,
    kind: Kind = "logistic",
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> LinearProbe:
    """Fit a linear probe whose penalty is chosen on a part of the training images.

    The loss is the mean cross-entropy, or the mean squared error to one-hot targets, plus half the
    strength times the squared weights of standardised features; the bias has no penalty. A quarter
    of the images, drawn by seed, judges the strengths; of equally good ones the stronger is taken.
    The fit that is returned has seen all images.

    Args:
        train: features, labels and images; rows with a negative label are left out.
        kind: "logistic" or "ridge".
        strengths: the strengths that are tried; with one there is nothing to choose.
        seed: seed of the part that judges.

    Raises:
        ValueError: If fewer than two classes are labelled, or there is no strength above 0.
    """
    ordered = sorted(strengths, reverse=True)
    if not ordered or ordered[-1] <= 0:
        raise ValueError(f"strengths of the penalty are above 0, got {list(strengths)}")
    rows = _Rows.of(train)
    if len(rows.classes) < 2:
        raise ValueError(f"a linear probe needs two classes or more, got {len(rows.classes)}")
    if len(ordered) > 1:
        ordered = ordered[: _best(rows, kind, ordered, seed) + 1]
    return _fits(rows, kind, ordered)[-1]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Training rows: features `[n d]`, the column of each label `[n]`, images `[n]`."""

    features: Tensor
    target: Tensor
    images: Tensor
    classes: Tensor

    @classmethod
    def of(cls, train: LabelledRegions) -> _Rows:
        """The rows that have a label."""
        images = torch.arange(len(train.labels)) if train.images is None else train.images
        known = train.labels >= 0
        classes, target = train.labels[known].unique(return_inverse=True)
        return cls(train.features[known].float(), target, images[known], classes)

    def take(self, where: Tensor) -> _Rows:
        """Some of the rows; all columns stay."""
        return _Rows(self.features[where], self.target[where], self.images[where], self.classes)


def _best(rows: _Rows, kind: Kind, strengths: Sequence[float], seed: int) -> int:
    """The index of the strength that names most of the held-out rows rightly."""
    images = rows.images.unique()
    drawn = np.random.default_rng(seed).permutation(len(images))
    judging = images[torch.from_numpy(drawn[: max(1, round(HELD_OUT * len(images)))])]
    held_out = torch.isin(rows.images, judging)
    if held_out.all() or not held_out.any():
        return 0
    inner, judged = rows.take(~held_out), rows.take(held_out)
    target = judged.classes[judged.target]
    hits = [
        float((probe.predict(judged.features) == target).double().mean())
        for probe in _fits(inner, kind, strengths)
    ]
    return hits.index(max(hits))


def _fits(rows: _Rows, kind: Kind, strengths: Sequence[float]) -> list[LinearProbe]:
    """A probe of each strength, from the strongest on."""
    mean = rows.features.mean(0)
    deviation = rows.features.std(0, correction=0)
    level = torch.where(deviation > 1e-6 * (mean.abs() + 1e-12), deviation, 1)
    standard = (rows.features - mean) / level
    solve = _ridge if kind == "ridge" else _logistic
    return [
        LinearProbe(mean, level, weights, bias, rows.classes, strength)
        for strength, (weights, bias) in zip(
            strengths, solve(standard, rows.target, len(rows.classes), strengths), strict=True
        )
    ]


def _ridge(
    rows: Tensor, target: Tensor, classes: int, strengths: Sequence[float]
) -> list[tuple[Tensor, Tensor]]:
    """The closed form, by one eigenvalue decomposition for all strengths."""
    exact = rows.double()
    targets = one_hot(target, classes).double()
    bias = targets.mean(0)
    values, vectors = torch.linalg.eigh(exact.T @ exact / len(rows))
    projected = vectors.T @ (exact.T @ (targets - bias) / len(rows))
    return [
        (
            (vectors @ (projected / (values.clamp(min=0) + strength)[:, None])).float(),
            bias.float(),
        )
        for strength in strengths
    ]


def _logistic(
    rows: Tensor, target: Tensor, classes: int, strengths: Sequence[float]
) -> list[tuple[Tensor, Tensor]]:
    """L-BFGS, each strength from the solution of the one before."""
    weights = torch.zeros(rows.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solutions = []
    for strength in strengths:
        solver = torch.optim.LBFGS(
            [weights, bias],
            max_iter=ITERATIONS,
            tolerance_grad=1e-5,
            tolerance_change=1e-8,
            line_search_fn="strong_wolfe",
        )

        def loss(solver: torch.optim.LBFGS = solver, strength: float = strength) -> Tensor:
            solver.zero_grad()
            with torch.enable_grad():
                value = cross_entropy(rows @ weights + bias, target)
                value = value + strength / 2 * weights.square().sum()
            value.backward()
            return value

        solver.step(loss)  # type: ignore[arg-type]
        solutions.append((weights.detach().clone(), bias.detach().clone()))
    return solutions

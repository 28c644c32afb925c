"""Directions of patches: what every cosine of the diagnosis is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def wide(features: Float[Tensor, "h w d"]) -> Float[Tensor, "h w d"]:
    """The features in float64, checked: bf16 and float16 lose nothing, and sums over a large grid
    keep their digits.

    Raises:
        ValueError: not `[h w d]`, an empty axis, NaN or infinity.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(
            f"expected the features of one view, [h w d] without an empty axis; got {list(features.shape)}"
        )
    if not bool(torch.isfinite(features).all()):
        bad = int((~torch.isfinite(features)).any(-1).sum())
        raise ValueError(
            f"features are NaN or infinite at {bad} of {features.shape[:2].numel()} patches"
        )
    return features.double()


def directions(features: Float[Tensor, "h w d"]) -> Float[Tensor, "h w e"]:
    """Unit vectors in float64, with one more channel that is 1 for a patch of zeros and 0 for all
    others.

    Their dot products are the house's cosines without a special case: cos(0, 0) = 1 and cos(0, x) =
    0, as in `merge`.

    Raises:
        ValueError: see `wide`.

    >>> directions(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])).tolist()
    [[[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]]
    """
    exact = wide(features)
    largest = exact.abs().amax(-1, keepdim=True)
    empty = largest == 0
    scaled = exact / torch.where(empty, 1, largest)  # squares of 1e-200 would underflow
    length = scaled.norm(dim=-1, keepdim=True)
    return torch.cat([scaled / torch.where(empty, 1, length), empty.double()], -1)

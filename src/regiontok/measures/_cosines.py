"""Features in float64, and the unit vectors that cosines are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def checked_features(features: Float[Tensor, "h w d"]) -> Float[Tensor, "h w d"]:
    """The features in float64: bfloat16 and float16 lose nothing, sums over a grid keep digits.

    Raises:
        ValueError: If they are not `[h w d]`, have an empty axis, or are NaN or infinite.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(
            "expected the features of one view, [h w d] without an empty axis; got "
            f"{list(features.shape)}"
        )
    if not bool(torch.isfinite(features).all()):
        bad = int((~torch.isfinite(features)).any(-1).sum())
        raise ValueError(
            f"features are NaN or infinite at {bad} of {features.shape[:2].numel()} patches"
        )
    return features.double()


def unit_vectors(features: Float[Tensor, "h w d"]) -> Float[Tensor, "h w e"]:
    """Features of length 1 in float64, with one more channel that marks patches of zeros.

    It is 1 for a patch of zeros and 0 for all others, so dot products are the cosines of this
    project without a special case: cos(0, 0) = 1 and cos(0, x) = 0, as in `merge`.

    Raises:
        ValueError: If `checked_features` refuses the features.

    >>> unit_vectors(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])).tolist()
    [[[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]]
    """
    exact = checked_features(features)
    largest = exact.abs().amax(-1, keepdim=True)
    empty = largest == 0
    scaled = exact / torch.where(empty, 1, largest)  # squares of 1e-200 would underflow
    length = scaled.norm(dim=-1, keepdim=True)
    return torch.cat([scaled / torch.where(empty, 1, length), empty.double()], -1)

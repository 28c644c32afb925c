"""Cosine similarities without the noise of their last bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

STEPS_IN_ONE = 1 << 20  # a cosine is rounded to a whole multiple of 1 / STEPS_IN_ONE, as in `merge`


def rounded_cosines(
    units: Float[Tensor, "i d"], others: Float[Tensor, "j d"]
) -> Float[Tensor, "i j"]:
    """The cosines of unit vectors in whole multiples of 2^-20, so that ties are exact ties."""
    return (units @ others.T * STEPS_IN_ONE).round()

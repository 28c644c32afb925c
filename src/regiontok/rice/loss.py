"""Region cluster discrimination: the loss of a region's cosines with its positives and negatives.

After: RICE, section 3.3 (rows R5, R6), equations 3 and 4; margin and scale of section 4.1.
Differs: the negatives' sum runs over negative centres (the text repeats the positive's symbol). The
margin is additive on the cosine, as written; the angular one of the paper the text cites is an
option. `softmax` and `softmax_rivals` are forms of the family, for comparison. The latter is that
of the authors' code (OneVision-Encoder, `training/fused_partial_fc_v2.py`), which draws negatives
for each positive apart, so that other positives are among them by chance; here they always are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

KINDS = ("twosided", "softmax", "softmax_rivals")


@dataclass(frozen=True)
class RegionLoss:
    """The loss of a region, from its positive cosines and the log-sum-exp of its negative ones.

    With z_p = scale (cos_p - margin) for a positive, or scale cos(theta_p + margin) if angular, and
    z_k = scale cos_k for a negative:

    - `twosided` (equation 3 with one positive, equation 4 with several):
      log(1 + sum_p e^-z_p) + log(1 + sum_k e^z_k). Both terms are absolute: centres whose mean
      cosine with everything is well above 0 start with a loss of tens, so centroids are centred
      first (`initial_centres.centred`).
    - `softmax`: the mean over positives of log(1 + sum_k e^(z_k - z_p)): one softmax a positive,
      the region's other positives left out of its denominator. With one positive this is margin
      softmax.
    - `softmax_rivals`: the same softmaxes, but the region's other positives stay in each
      denominator, as negatives without a margin.

    Attributes:
        kind: "twosided", "softmax" or "softmax_rivals".
        margin: 0.3 in the paper; it is taken off the cosine, or added to the angle in radians.
        angular: True takes cos(theta + margin) in place of cos(theta) - margin.
        scale: factor of the cosines, 64 in the paper.
        filter: cosine above which a negative counts as one of cosine 0, without a gradient: so near
            it is taken for the same class under another number. 0 filters none; the authors' code
            has 0.75.

    Raises:
        ValueError: If the kind is another one, the margin is negative or not below pi, the scale
            lies outside (0, 300]: beyond that even float64 sums overflow; or the filter outside
            [0, 1].
    """

    kind: str = "twosided"
    margin: float = 0.3
    angular: bool = False
    scale: float = 64.0
    filter: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown loss {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 <= self.margin < math.pi:
            raise ValueError(f"margin is a number from 0 to below pi, got {self.margin}")
        if not 0 < self.scale <= 300:
            raise ValueError(f"scale lies in (0, 300], got {self.scale}")
        if not 0 <= self.filter <= 1:
            raise ValueError(f"filter is a cosine from 0 (none) to 1, got {self.filter}")

    def __call__(
        self, cosine: Float[Tensor, "n m"], valid: Bool[Tensor, "n m"], negative: Float[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """The loss of each region.

        Args:
            cosine: cosines with its positives; a value where `valid` is False does not matter, if
                it is finite.
            valid: which of them exist; at least one a region.
            negative: log of the sum of exp(scale cos) over its negatives, filtered by then; -inf if
                it has none.

        >>> half = torch.tensor([[0.5]]), torch.tensor([[True]]), torch.tensor([0.0])
        >>> RegionLoss(margin=0.25, scale=4.0)(*half)  # log(1 + e^-1) + log(1 + 1)
        tensor([1.0064])
        >>> RegionLoss("softmax", margin=0.25, scale=4.0)(*half)  # log(1 + e^-1)
        tensor([0.3133])
        """
        scores = self.scale * with_margin(cosine, self.margin, self.angular)
        if self.kind != "twosided":
            denominators = negative[:, None].expand_as(scores)
            if self.kind == "softmax_rivals":
                denominators = torch.logaddexp(denominators, self._rivals(cosine, valid))
            losses = torch.logaddexp(torch.zeros_like(scores), denominators - scores)
            return torch.where(valid, losses, 0.0).sum(1) / valid.sum(1)
        zero = torch.zeros_like(negative)
        pulls = torch.cat([zero[:, None], torch.where(valid, -scores, -torch.inf)], dim=1)
        return pulls.logsumexp(1) + torch.logaddexp(zero, negative)

    def _rivals(
        self, cosine: Float[Tensor, "n m"], valid: Bool[Tensor, "n m"]
    ) -> Float[Tensor, "n m"]:
        """For each positive the log-sum-exp over the region's other ones, as negatives."""
        scores = self.scale * cosine
        if self.filter:
            scores = torch.where(cosine > self.filter, 0.0, scores)
        scores = torch.where(valid, scores, -torch.inf)
        itself = torch.eye(cosine.shape[1], dtype=torch.bool, device=cosine.device)
        # a positive without others has none to sum: a floor keeps its gradient from being NaN
        floor = scores.new_full((), torch.finfo(scores.dtype).min / 2)
        return scores[:, None].masked_fill(itself, -torch.inf).maximum(floor).logsumexp(2)


def with_margin(
    cosine: Float[Tensor, "..."], margin: float, angular: bool = False
) -> Float[Tensor, "..."]:
    """What a positive's cosine counts as; differentiable.

    cos(theta + margin) turns round at theta = pi - margin; from there the value falls with the
    cosine, by one for one, so that a worse positive always costs more.

    >>> with_margin(torch.tensor([0.5, -0.5]), 0.3)
    tensor([ 0.2000, -0.8000])
    """
    if not angular:
        return cosine - margin
    # A sine below 1e-3 is rounding in float32; and its slope, cos / sin, is infinite at theta = 0.
    sine = (1 - cosine.square()).clamp_min(1e-6).sqrt()
    turning = math.cos(math.pi - margin)
    angle_sum = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > turning, angle_sum, cosine - turning - 1)

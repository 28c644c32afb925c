"""A PCA basis that is fitted once and then colours any frame: equal colours mean equal features.

After: RICE, section 4.4, figure 5 (row R13): tokens of video frames at 2,048 pixels through three
principal components. Halko, Martinsson and Tropp 2011 (arXiv:0909.4061), algorithms 4.4 and 5.1:
the randomised form.
Differs: the paper does not say on what the components are fitted; here on all frames jointly, or on
the first one. Signs are fixed and colours cut at their outer quantiles as in `pca_rgb`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.measures._cosines import checked_features
from regiontok.measures.pca import CLIP, signed

if TYPE_CHECKING:
    from jaxtyping import Float

Solver = Literal["exact", "randomised"]
OVERSAMPLED = 8  # more directions than asked for, of which the best are kept
PASSES = 6  # passes over the features; each squares how far the components stand out


@dataclass(frozen=True, eq=False)
class PcaBasis:
    """Three directions of largest variance, and the scores that become no and full colour.

    Attributes:
        mean: `[d]`, what is taken off features.
        vectors: `[d 3]`, unit vectors; zeros where features do not vary in so many directions.
        low, high: `[3]`, the scores that become 0 and 1.
        shares: `[3]`, the share of the variance that lies along each direction.
    """

    mean: Float[Tensor, "d"]
    vectors: Float[Tensor, "d 3"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]
    shares: Float[Tensor, "3"]

    @classmethod
    def fit(
        cls,
        frames: Sequence[Float[Tensor, "h w d"]],
        *,
        solver: Solver = "exact",
        seed: int = 0,
    ) -> PcaBasis:
        """The basis of all patches of some frames.

        Args:
            frames: features of each frame, of one width.
            solver: "exact" takes eigenvectors of the covariance, in O(n d^2 + d^3); "randomised"
                finds them in a random subspace that is refined in six passes, in O(n d).
            seed: seed of the random subspace.

        Raises:
            ValueError: If there is no frame, widths differ, or features are NaN or infinite.
        """
        widths = sorted({frame.shape[-1] for frame in frames})
        if len(widths) != 1:
            raise ValueError(f"a basis needs frames of one width, got {widths or 'no frame'}")
        patches = _Patches.of(frames)
        total = sum(float(rows.square().sum()) for rows in patches.centred()) / patches.count
        values, vectors = _exact(patches) if solver == "exact" else _randomised(patches, seed)
        varies = values > 1e-20 * max(total, 1e-300)
        vectors = signed(torch.where(varies, vectors, 0))
        scores = torch.cat([rows @ vectors for rows in patches.centred()]).sort(0).values
        cut = round(CLIP * (len(scores) - 1))
        shares = torch.where(varies, values, 0) / total if total else torch.zeros_like(values)
        return cls(patches.mean, vectors, scores[cut], scores[len(scores) - 1 - cut], shares)

    def colours(self, frame: Float[Tensor, "h w d"]) -> Float[Tensor, "h w 3"]:
        """The colours of a frame's patches, 0 to 1; 0.5 along a direction without variance.

        Raises:
            ValueError: If the frame has another width, or features are NaN or infinite.
        """
        features = checked_features(frame)
        if features.shape[-1] != len(self.mean):
            raise ValueError(
                f"the basis is of width {len(self.mean)}, the frame of {features.shape[-1]}"
            )
        scores = (features - self.mean) @ self.vectors
        is_constant = self.high <= self.low
        scaled = (scores - self.low) / torch.where(is_constant, 1, self.high - self.low)
        return torch.where(is_constant, 0.5, scaled.clamp(0, 1))


@dataclass(frozen=True, eq=False)
class _Patches:
    """The patches of all frames; in float64 there is one frame at a time.

    Attributes:
        frames: the frames.
        count: number of patches.
        mean: `[d]` float64.
    """

    frames: Sequence[Tensor]
    count: int
    mean: Tensor

    @classmethod
    def of(cls, frames: Sequence[Tensor]) -> _Patches:
        """The patches of some frames."""
        count = sum(frame.shape[:2].numel() for frame in frames)
        sums = [checked_features(frame).flatten(0, 1).sum(0) for frame in frames]
        return cls(frames, count, torch.stack(sums).sum(0) / count)

    def centred(self) -> Iterator[Tensor]:
        """The patches of each frame, `[n d]` float64, less the mean of all."""
        for frame in self.frames:
            yield frame.double().flatten(0, 1) - self.mean


def _exact(patches: _Patches) -> tuple[Tensor, Tensor]:
    """The three largest eigenvalues of the covariance, and their vectors."""
    products = [rows.T @ rows for rows in patches.centred()]
    values, vectors = torch.linalg.eigh(torch.stack(products).sum(0) / patches.count)
    return _three(values.flip(0), vectors.flip(1))


def _randomised(patches: _Patches, seed: int) -> tuple[Tensor, Tensor]:
    """The same from a random subspace, refined by passes over the features."""
    width = len(patches.mean)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(width, min(3 + OVERSAMPLED, width), generator=generator).double()
    subspace = torch.linalg.qr(start.to(patches.mean.device)).Q
    for _ in range(PASSES):
        products = [rows.T @ (rows @ subspace) for rows in patches.centred()]
        subspace = torch.linalg.qr(torch.stack(products).sum(0)).Q
    inner = [(rows @ subspace).T @ (rows @ subspace) for rows in patches.centred()]
    values, turns = torch.linalg.eigh(torch.stack(inner).sum(0) / patches.count)
    return _three(values.flip(0), subspace @ turns.flip(1))


def _three(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The first three; zeros where there are fewer."""
    missing = max(0, 3 - len(values))
    padded_values = torch.cat([values[:3], values.new_zeros(missing)])
    padded = torch.cat([vectors[:, :3], vectors.new_zeros(len(vectors), missing)], 1)
    return padded_values, padded

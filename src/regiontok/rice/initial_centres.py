"""Where class centres start: at random unit vectors, or at k-means centroids without their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float

# Rows drawn at once: a rank draws the blocks that it holds a part of, so that centres start alike
# on any number of ranks.
_BLOCK = 1024


def random_centres(
    start: int, stop: int, width: int, seed: int, name: str = ""
) -> Float[Tensor, "k d"]:
    """Rows start ... stop - 1 of a head's random unit centres.

    A row does not depend on which others are drawn. `name` is that of the head.
    """
    centres = torch.empty(stop - start, width)
    for block in range(start // _BLOCK, -(-stop // _BLOCK) if stop > start else 0):
        key = int.from_bytes(f"{name}".encode(), "big") * 1_000_003 + block
        generator = torch.Generator().manual_seed((key * 1_000_003 + seed) % (1 << 63))
        rows = torch.randn(_BLOCK, width, generator=generator)
        lower, upper = max(start, block * _BLOCK), min(stop, (block + 1) * _BLOCK)
        centres[lower - start : upper - start] = rows[
            lower - block * _BLOCK : upper - block * _BLOCK
        ]
    return F.normalize(centres, dim=1)


def centred(centroids: Float[Tensor, "K d"]) -> Float[Tensor, "K d"]:
    """Unit centroids without their mean, made unit again.

    CLIP's centroids have a mean cosine far above 0; `twosided` starts with a loss of about 64 times
    that.

    Raises:
        ValueError: If a centroid is not finite, or nothing is left of it without the mean.

    >>> centred(torch.tensor([[3.0, 1.0], [3.0, -1.0]]))
    tensor([[ 0.,  1.],
            [ 0., -1.]])
    """
    unit = F.normalize(centroids, dim=1)
    moved = unit - unit.mean(0)
    lengths: Tensor = moved.norm(dim=1)
    bad = ~(lengths > 1e-6)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} centroids are not finite, or equal to the mean, the first is "
            f"{int(bad.nonzero()[0])}"
        )
    return moved / lengths[:, None]

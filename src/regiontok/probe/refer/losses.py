"""What a mask's logits cost: binary cross-entropy and Dice, as LISA adds them.

After: Lai et al., LISA, CVPR 2024, section 3.2, and its published training settings: both losses
are means over a batch's masks, Dice on sums divided by 1,000 with 1e-6 added above and below.
Differs: masks of one batch may have different sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

if TYPE_CHECKING:
    from jaxtyping import Float

DICE_SCALE, DICE_EPS = 1000.0, 1e-6


def mask_losses(
    logits: Sequence[Float[Tensor, "H W"]], masks: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The mean binary cross-entropy and the mean Dice loss of a batch's masks.

    Args:
        logits: one map of logits a mask, above 0 inside.
        masks: `[H W]` the masks, 1 or True inside.

    Raises:
        ValueError: If there is no mask, or a map has another size than its mask.
    """
    if not logits or len(logits) != len(masks):
        raise ValueError(f"expected as many maps as masks, got {len(logits)} and {len(masks)}")
    by_size: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for pair in zip(logits, masks, strict=True):
        by_size.setdefault(_size_of(*pair), []).append(pair)
    crosses, dices = [], []
    for pairs in by_size.values():  # masks of one size together: a call for each takes far longer
        values = torch.stack([one for one, _ in pairs]).float()
        targets = torch.stack([mask for _, mask in pairs]).to(values)
        each = binary_cross_entropy_with_logits(values, targets, reduction="none")
        crosses.append(each.mean((-2, -1)))
        dices.append(dice_loss(values, targets))
    return torch.cat(crosses).mean(), torch.cat(dices).mean()


def dice_loss(
    logits: Float[Tensor, "*masks H W"], mask: Float[Tensor, "*masks H W"]
) -> Float[Tensor, "*masks"]:
    """1 - Dice of soft masks.

    >>> round(float(dice_loss(torch.full((4, 4), 20.0), torch.ones(4, 4))), 4)
    0.0
    """
    inside, target = logits.sigmoid().flatten(-2), mask.flatten(-2)
    both = 2 * (inside / DICE_SCALE * target).sum(-1)
    total = (inside / DICE_SCALE).sum(-1) + (target / DICE_SCALE).sum(-1)
    return 1 - (both + DICE_EPS) / (total + DICE_EPS)


def _size_of(logits: Tensor, mask: Tensor) -> torch.Size:
    """The size of a map and its mask.

    Raises:
        ValueError: If they differ.
    """
    if logits.shape != mask.shape:
        raise ValueError(
            f"expected logits of the mask's size {list(mask.shape)}, got {list(logits.shape)}"
        )
    return logits.shape

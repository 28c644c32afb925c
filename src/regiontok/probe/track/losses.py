"""The loss of the tracking probe: focal on the scores, generalised IoU and L1 on the box.

After: OSTrack equations 6 and 7 and lib/train/actors/ostrack.py: focal + 2 GIoU + 5 L1, the box at
    the PREDICTED peak; CornerNet's focal loss (Law and Deng 2018, alpha 2, beta 4) on a Gaussian
    about the target's centre, whose radius is CenterNet's with min overlap .7 in the form that its
    authors call the bug version: the roots are divided by 2 instead of 2a, and are the larger ones.
Differs: a Gaussian's value below float32's rounding beside its peak counts as any other; the
    authors set it to 0, which changes nothing at these sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.probe.track.box_head import BoxMaps

if TYPE_CHECKING:
    from jaxtyping import Float

GIOU_WEIGHT, L1_WEIGHT = 2.0, 5.0
_MIN_OVERLAP = 0.7
_ALPHA, _BETA = 2, 4
_TINY = 1e-7  # beside an area, so that empty boxes divide by no zero


def track_losses(maps: BoxMaps, box: Float[Tensor, "b 4"]) -> dict[str, Tensor]:
    """The three losses, weighted: their sum is minimised.

    Args:
        maps: what the head says.
        box: x, y, width and height of the target in the search crop, whose side is 1.
    """
    predicted = corners(maps.boxes())
    target = corners(box).clamp(0, 1)
    heat = heat_map(box, (maps.score.shape[1], maps.score.shape[2]))
    return {
        "focal": focal_loss(maps.score, heat),
        "giou": GIOU_WEIGHT * (1 - generalised_iou(predicted, target)).mean(),
        "l1": L1_WEIGHT * (predicted - target).abs().mean(),
    }


def generalised_iou(
    boxes: Float[Tensor, "b 4"], others: Float[Tensor, "b 4"]
) -> Float[Tensor, "b"]:
    """IoU less the share of the smallest box around both that neither covers (Rezatofighi 2019).

    Importing torchvision for it would take longer than a small run.

    >>> pair = torch.tensor([[0.0, 0, 1, 1], [2.0, 0, 3, 1]])
    >>> [round(value, 4) for value in generalised_iou(pair[:1], pair).tolist()]
    [1.0, -0.3333]
    """
    (first, last), (other_first, other_last) = boxes.split(2, 1), others.split(2, 1)
    shared = _area(torch.maximum(first, other_first), torch.minimum(last, other_last))
    union = _area(first, last) + _area(other_first, other_last) - shared
    around = _area(torch.minimum(first, other_first), torch.maximum(last, other_last))
    return shared / (union + _TINY) - (around - union) / (around + _TINY)


def _area(first: Float[Tensor, "b 2"], last: Float[Tensor, "b 2"]) -> Float[Tensor, "b"]:
    return (last - first).clamp(min=0).prod(1)


def focal_loss(score: Float[Tensor, "b h w"], heat: Float[Tensor, "b h w"]) -> Tensor:
    """CornerNet's focal loss, a mean over the cells whose heat is 1; a sum if there is none."""
    is_peak = heat.eq(1)
    found = score.log() * (1 - score) ** _ALPHA * is_peak
    missed = (1 - score).log() * score**_ALPHA * (1 - heat) ** _BETA * ~is_peak
    return -(found.sum() + missed.sum()) / is_peak.sum().clamp(min=1)


def heat_map(box: Float[Tensor, "b 4"], grid: tuple[int, int]) -> Float[Tensor, "b h w"]:
    """A Gaussian about the cell corner nearest to each target's centre, 1 at its peak.

    Its standard deviation is a sixth of the diameter 2 r + 1, and it ends r cells from the peak.

    >>> heat_map(torch.tensor([[0.4, 0.4, 0.2, 0.2]]), (4, 4))[0, 2].tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    height, width = grid
    cells = box.new_tensor([width, height])
    centre = ((box[:, :2] + box[:, 2:] / 2) * cells).round()
    radius = gaussian_radius(box[:, 2:] * cells).clamp(min=0).floor()[:, None, None]
    across, down = (torch.arange(count, device=box.device) for count in (width, height))
    x = (across[None, None, :] - centre[:, 0, None, None]).abs()
    y = (down[None, :, None] - centre[:, 1, None, None]).abs()
    sigma = (2 * radius + 1) / 6
    heat = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    return heat * ((x <= radius) & (y <= radius))


def gaussian_radius(size: Float[Tensor, "b 2"]) -> Float[Tensor, "b"]:
    """CenterNet's radius in cells, in the form that OSTrack uses.

    It is the least of three larger roots, each divided by 2 whatever its leading coefficient.
    """
    total, area, overlap = size.sum(1), size.prod(1), _MIN_OVERLAP
    equations = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    )
    roots = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in equations]
    return torch.stack(roots).amin(0)


def corners(box: Float[Tensor, "b 4"]) -> Float[Tensor, "b 4"]:
    """Boxes as left, top, right, bottom."""
    return torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1)

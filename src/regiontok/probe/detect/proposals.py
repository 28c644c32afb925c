"""Proposals: torchvision's region proposal network over anchors at the levels' own strides.

After: Faster R-CNN; detectron2's settings (anchors of 8 cells, ratios 1:2, 1:1 and 2:1).
Differs: torchvision's `AnchorGenerator` has strides in whole pixels; here they are any, and anchors
lie around the middle of a cell, not at its corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from regiontok.probe.detect.roi_pooling import Stride

if TYPE_CHECKING:
    from jaxtyping import Float

RATIOS = (0.5, 1.0, 2.0)  # height to width
SIDE = 8  # cells of an anchor's side


@dataclass(frozen=True)
class ProposalSizes:
    """How many anchors and proposals a picture has.

    Attributes:
        sampled: anchors of a picture whose loss is computed, half of them positive at most.
        before: the best of each level that go into non-maximum suppression: in training, in use.
        after: those of a picture that stay: in training, in use.
    """

    sampled: int = 256
    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (1000, 1000)


class Anchors(nn.Module):
    """Anchors of each level; it takes the place of torchvision's `AnchorGenerator`.

    Args:
        strides: canvas pixels of a cell of each level: (y, x).
    """

    def __init__(self, strides: Sequence[Stride]) -> None:
        super().__init__()
        self.strides = tuple(strides)

    def forward(self, images: ImageList, features: Sequence[Tensor]) -> list[Tensor]:
        """The anchors of each picture, which are the same: level by level, xyxy."""
        levels = [
            anchors_of((level.shape[-2], level.shape[-1]), stride).to(level.device)
            for level, stride in zip(features, self.strides, strict=True)
        ]
        return [torch.cat(levels)] * len(images.image_sizes)


def anchors_of(grid: tuple[int, int], stride: Stride) -> Float[Tensor, "n 4"]:
    """The anchors of one level: cell by cell, and of a cell ratio by ratio.

    >>> anchors_of((1, 2), (3.5, 3.5))[4].tolist()  # the square of the second cell
    [-8.75, -12.25, 19.25, 15.75]
    """
    side = SIDE * math.sqrt(stride[0] * stride[1])
    half = torch.tensor([(side / math.sqrt(r), side * math.sqrt(r)) for r in RATIOS]) / 2
    shapes = torch.cat([-half, half], dim=1)
    rows, columns = (
        (torch.arange(count) + 0.5) * length for count, length in zip(grid, stride, strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (centres + shapes).reshape(-1, 4)


def proposal_network(
    channels: int, strides: Sequence[Stride], sizes: ProposalSizes
) -> RegionProposalNetwork:
    """torchvision's region proposal network for levels of these strides."""
    return RegionProposalNetwork(
        Anchors(strides),  # type: ignore[arg-type]  # a module that is called like theirs
        RPNHead(channels, len(RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=sizes.sampled,
        positive_fraction=0.5,
        pre_nms_top_n={"training": sizes.before[0], "testing": sizes.before[1]},
        post_nms_top_n={"training": sizes.after[0], "testing": sizes.after[1]},
        nms_thresh=0.7,
    )


def propose(
    network: RegionProposalNetwork,
    levels: Sequence[Tensor],
    extent: tuple[float, float],
    truth: Sequence[Tensor] | None,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The proposals of each picture, and in training the losses.

    Args:
        network: the network.
        levels: the maps of the batch.
        extent: (height, width) of what the map covers, in canvas pixels.
        truth: the true boxes of each picture, in training.
    """
    count = len(levels[0])
    images = ImageList(levels[0], [extent] * count)  # type: ignore[list-item]  # never indexed
    targets: Any = None if truth is None else [{"boxes": boxes} for boxes in truth]
    named = {str(number): level for number, level in enumerate(levels)}
    proposals, losses = network(images, named, targets)
    if truth is None:
        return proposals, {}
    return proposals, {
        "objectness": losses["loss_objectness"],
        "anchor_box": losses["loss_rpn_box_reg"],
    }

"""The cascade: three box heads one behind the other, each on the boxes of the one before.

After: Cascade R-CNN (Cai and Vasconcelos 2018) as detectron2 has it: IoU .5, .6, .7; box weights
(10, 5), (20, 10), (30, 15); boxes that know no class; gradients of features scaled by 1/3; scores
averaged over the stages, boxes of the last.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.ops import box_iou, clip_boxes_to_image

if TYPE_CHECKING:
    from jaxtyping import Float, Int

THRESHOLDS = (0.5, 0.6, 0.7)
WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
POSITIVE = 0.25  # the largest share of positive boxes among those that are sampled
PoolBoxes = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Matched:
    """Boxes of one picture beside the objects that they are matched with.

    Attributes:
        boxes: `[k 4]` xyxy.
        labels: `[k]`: 0 is background, c + 1 the class c.
        objects: `[k]`: the object of each box; without meaning where the label is 0.
        true_boxes: `[k 4]`: the box of that object; zeros where there is no object.
    """

    boxes: Float[Tensor, "k 4"]
    labels: Int[Tensor, "k"]
    objects: Int[Tensor, "k"]
    true_boxes: Float[Tensor, "k 4"]

    def take(self, index: Tensor) -> Matched:
        """Some of the boxes."""
        fields = (self.boxes, self.labels, self.objects, self.true_boxes)
        return Matched(*(values[index] for values in fields))


class BoxHead(nn.Module):
    """Two fully connected layers, and from them class scores and one box a proposal.

    Args:
        channels: channels of the pyramid.
        size: cells of a pooled box along a side.
        hidden: width of the layers.
        classes: how many classes there are, without the background.
    """

    def __init__(self, channels: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels * size * size, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, classes + 1)
        self.box = nn.Linear(hidden, 4)
        for layer in (self.first, self.second):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.001)
        for layer in (self.score, self.box):
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n 4"]]:
        """Logits, the background's first, and how each box is moved."""
        hidden = F.relu(self.second(F.relu(self.first(pooled.flatten(1)))))
        return self.score(hidden), self.box(hidden)


class Cascade(nn.Module):
    """The three stages.

    Args:
        heads: the head of each stage.
        sampled: boxes of a picture that are sampled for training.
    """

    def __init__(self, heads: Sequence[nn.Module], sampled: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.coders = [BoxCoder(weights) for weights in WEIGHTS]
        self.sampler = BalancedPositiveNegativeSampler(sampled, POSITIVE)

    def losses(
        self,
        pool: PoolBoxes,
        proposals: Sequence[Tensor],
        truth: Sequence[tuple[Tensor, Tensor]],
        extent: tuple[float, float],
    ) -> tuple[dict[str, Tensor], list[Matched]]:
        """The losses of all stages, and the boxes that were sampled for the first.

        Args:
            pool: gives the features of the boxes of each picture.
            proposals: the proposals of each picture.
            truth: true boxes and classes of each picture.
            extent: (height, width) that boxes are cut to.
        """
        matched = [
            self._sampled(torch.cat([boxes, true_boxes]), true_boxes, classes)
            for boxes, (true_boxes, classes) in zip(proposals, truth, strict=True)
        ]
        first = matched
        moved: list[Tensor] = []
        losses: dict[str, Tensor] = {}
        for stage, head in enumerate(self.heads):
            if stage:
                matched = [
                    match(boxes, *objects, THRESHOLDS[stage])
                    for boxes, objects in zip(moved, truth, strict=True)
                ]
            logits, deltas = head(scaled_gradient(pool([sample.boxes for sample in matched])))
            losses |= _stage_losses(stage, logits, deltas, matched, self.coders[stage])
            moved = self._moved(
                stage, deltas.detach(), [sample.boxes for sample in matched], extent
            )
            moved = [boxes[_has_area(boxes)] for boxes in moved]
        return losses, first

    def scores_and_boxes(
        self, pool: PoolBoxes, proposals: Sequence[Tensor], extent: tuple[float, float]
    ) -> list[tuple[Float[Tensor, "k c"], Float[Tensor, "k 4"]]]:
        """Of each picture: probabilities of the classes, without the background's, and boxes."""
        boxes, total = list(proposals), torch.zeros(())
        for stage, head in enumerate(self.heads):
            logits, deltas = head(pool(boxes))
            total = total.to(logits.device) + logits.softmax(dim=1)
            boxes = self._moved(stage, deltas, boxes, extent)
        counts = [len(picture_boxes) for picture_boxes in boxes]
        scores = (total / len(self.heads))[:, 1:].split(counts)
        return list(zip(scores, boxes, strict=True))

    def _moved(
        self, stage: int, deltas: Tensor, boxes: Sequence[Tensor], extent: tuple[float, float]
    ) -> list[Tensor]:
        """Boxes after a stage, cut to the extent."""
        flat = self.coders[stage].decode_single(deltas.float(), torch.cat(list(boxes)))
        clipped = clip_boxes_to_image(flat, extent)  # type: ignore[arg-type]
        return list(clipped.split([len(picture_boxes) for picture_boxes in boxes]))

    def _sampled(self, boxes: Tensor, true_boxes: Tensor, classes: Tensor) -> Matched:
        matched = match(boxes, true_boxes, classes, THRESHOLDS[0])
        positive, negative = self.sampler([matched.labels])
        return matched.take((positive[0] | negative[0]).nonzero()[:, 0])


def match(boxes: Tensor, true_boxes: Tensor, classes: Tensor, threshold: float) -> Matched:
    """Match each box with the object that it overlaps most, if by an IoU of `threshold`."""
    if not len(true_boxes):
        nothing = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        return Matched(boxes, nothing, nothing, torch.zeros_like(boxes))
    objects = Matcher(threshold, threshold)(box_iou(true_boxes, boxes))
    nearest = objects.clamp(min=0)
    labels = torch.where(objects >= 0, classes[nearest] + 1, 0)
    return Matched(boxes, labels, nearest, true_boxes[nearest])


def scaled_gradient(features: Tensor, factor: float = 1 / 3) -> Tensor:
    """The same features, whose gradient is multiplied by `factor`."""
    return features * factor + features.detach() * (1 - factor)


def _stage_losses(
    stage: int, logits: Tensor, deltas: Tensor, matched: Sequence[Matched], coder: BoxCoder
) -> dict[str, Tensor]:
    labels = torch.cat([sample.labels for sample in matched])
    positive = (labels > 0).nonzero()[:, 0]
    boxes, true_boxes = (
        torch.cat([getattr(sample, name) for sample in matched])[positive]
        for name in ("boxes", "true_boxes")
    )
    wanted = coder.encode_single(true_boxes, boxes)
    count = max(len(labels), 1)
    return {
        f"class_{stage + 1}": F.cross_entropy(logits.float(), labels, reduction="sum") / count,
        f"box_{stage + 1}": (deltas[positive].float() - wanted).abs().sum() / count,
    }


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])

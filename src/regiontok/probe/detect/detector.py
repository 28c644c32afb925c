"""The detector that learns: pyramid, proposals, cascade and masks on maps that do not.

After: Cascade Mask R-CNN on a frozen encoder (RICE, section 4.3, row R11).
Differs: the paper gives no sizes of the heads; those of `paper` are detectron2's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from regiontok.core.frame import Frame
from regiontok.probe.detect.cascade import THRESHOLDS, BoxHead, Cascade, Matched
from regiontok.probe.detect.mask_head import MaskHead, mask_loss, on_picture, true_masks_of
from regiontok.probe.detect.objects import Detections, Objects
from regiontok.probe.detect.proposals import proposal_network, propose
from regiontok.probe.detect.pyramid import FACTORS, FeaturePyramid
from regiontok.probe.detect.roi_pooling import Stride, pool_boxes
from regiontok.probe.detect.sizes import SIZES, DetectorSettings

if TYPE_CHECKING:
    from jaxtyping import Float

BOX_CELLS, MASK_CELLS = 7, 14


class Detector(nn.Module):
    """Boxes, classes and masks from the maps of a frozen encoder.

    Args:
        width: d, channels of the maps.
        patch: canvas pixels of a cell of the maps: (height, width).
        settings: what it finds.
    """

    def __init__(self, width: int, patch: tuple[int, int], settings: DetectorSettings) -> None:
        super().__init__()
        sizes = SIZES[settings.sizes]
        self.settings, self.patch = settings, patch
        self.strides: list[Stride] = [(patch[0] / f, patch[1] / f) for f in FACTORS]
        self.pyramid = FeaturePyramid(width, sizes.channels)
        self.proposals = proposal_network(sizes.channels, self.strides, sizes.proposals)
        head = (sizes.channels, BOX_CELLS, sizes.hidden, settings.classes)
        self.cascade = Cascade([BoxHead(*head) for _ in THRESHOLDS], sizes.sampled)
        if settings.masks:
            self.mask_head = MaskHead(sizes.channels, sizes.convolutions, settings.classes)

    def losses(
        self, maps: Float[Tensor, "b d h w"], frames: Sequence[Frame], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """The losses of a batch, by name.

        Args:
            maps: the maps of the pictures, without gradient.
            frames: how each picture lies under its map.
            objects: the true objects of each picture.
        """
        levels, extent = self.pyramid(maps), self._extent(maps)
        truth = [
            self._on_canvas(picture_objects, frame, maps.device)
            for picture_objects, frame in zip(objects, frames, strict=True)
        ]
        proposals, losses = propose(self.proposals, levels, extent, [boxes for boxes, *_ in truth])
        seen = [(boxes, classes) for boxes, classes, _ in truth]
        more, sampled = self.cascade.losses(
            self._pooler(levels, BOX_CELLS), proposals, seen, extent
        )
        losses |= more
        if self.settings.masks:
            numbers_by_picture = [numbers for *_, numbers in truth]
            losses["mask"] = self._mask_loss(levels, sampled, frames, objects, numbers_by_picture)
        return losses

    @torch.no_grad()
    def forward(self, maps: Float[Tensor, "b d h w"], frames: Sequence[Frame]) -> list[Detections]:
        """What is found in each picture."""
        levels, extent = self.pyramid(maps), self._extent(maps)
        proposals, _ = propose(self.proposals, levels, extent, None)
        detections = [
            _best(scores, boxes, self.settings)
            for scores, boxes in self.cascade.scores_and_boxes(
                self._pooler(levels, BOX_CELLS), proposals, extent
            )
        ]
        masks = self._masks(
            levels, [boxes for boxes, *_ in detections], [detection[2] for detection in detections]
        )
        return [
            self._on_pixels(boxes, scores, classes, own_masks, frame)
            for (boxes, scores, classes), own_masks, frame in zip(
                detections, masks, frames, strict=True
            )
        ]

    def _pooler(self, levels: Sequence[Tensor], size: int) -> Callable[[Sequence[Tensor]], Tensor]:
        """The function from boxes to features; the coarsest level serves proposals alone."""
        return lambda boxes: pool_boxes(levels[:-1], self.strides[:-1], boxes, size)

    def _extent(self, maps: Tensor) -> tuple[float, float]:
        """(height, width) of what the map covers, in canvas pixels."""
        height, width = maps.shape[-2:]
        return float(height * self.patch[0]), float(width * self.patch[1])

    def _scale(self, like: Tensor) -> Tensor:
        """Canvas pixels of a patch, as factors of xyxy."""
        y, x = self.patch
        return like.new_tensor([x, y, x, y])

    def _on_canvas(
        self, objects: Objects, frame: Frame, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes in canvas pixels, classes and numbers of the objects that patches see."""
        patches = frame.boxes_to_grid(objects.boxes)
        numbers = (
            ((patches[:, 2:] - patches[:, :2]) * patches.new_tensor(self.patch[::-1]) >= 1)
            .all(1)
            .nonzero()[:, 0]
        )
        boxes = (patches * self._scale(patches))[numbers].to(device)
        return boxes, objects.classes[numbers].to(device), numbers

    def _mask_loss(
        self,
        levels: Sequence[Tensor],
        sampled: Sequence[Matched],
        frames: Sequence[Frame],
        objects: Sequence[Objects],
        numbers_by_picture: Sequence[Tensor],
    ) -> Tensor:
        """The loss of the masks of positive boxes, in pictures that have masks."""
        positive = [
            sample.take(
                (sample.labels > 0).nonzero()[:, 0]
                if truth.masks is not None
                else sample.labels[:0]
            )
            for sample, truth in zip(sampled, objects, strict=True)
        ]
        pooled = self._pooler(levels, MASK_CELLS)([sample.boxes for sample in positive])
        wanted = [
            true_masks_of(
                truth.masks,
                numbers[sample.objects.cpu()].tolist(),
                frame.boxes_to_pixels(sample.boxes.cpu() / self._scale(sample.boxes.cpu())),
                2 * MASK_CELLS,
            )
            for sample, frame, truth, numbers in zip(
                positive, frames, objects, numbers_by_picture, strict=True
            )
            if truth.masks is not None
        ]
        return mask_loss(
            self.mask_head(pooled), torch.cat([sample.labels for sample in positive]), wanted
        )

    def _masks(
        self, levels: Sequence[Tensor], boxes: Sequence[Tensor], classes: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Probabilities of the cells of each box, picture by picture."""
        if not self.settings.masks:
            return [None] * len(boxes)
        flat = torch.cat(list(classes))
        logits = self.mask_head(self._pooler(levels, MASK_CELLS)(boxes))
        of_class = logits[torch.arange(len(flat), device=flat.device), flat].float().sigmoid()
        return list(of_class.split([len(picture) for picture in boxes]))

    def _on_pixels(
        self, boxes: Tensor, scores: Tensor, classes: Tensor, masks: Tensor | None, frame: Frame
    ) -> Detections:
        """Detections in the picture's pixels, on the CPU."""
        places = frame.boxes_to_pixels((boxes / self._scale(boxes)).cpu())
        dense = None
        if masks is not None:
            dense = on_picture(masks, places.to(masks.device), frame.image).cpu()
        return Detections(places, scores.cpu(), classes.cpu(), dense)


def _best(
    scores: Float[Tensor, "k c"], boxes: Float[Tensor, "k 4"], settings: DetectorSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and classes of the detections of a picture that stay, the surest first."""
    rows, classes = (scores > settings.least_score).nonzero().unbind(1)
    kept_boxes, kept_scores = boxes[rows].float(), scores[rows, classes].float()
    order = batched_nms(kept_boxes, kept_scores, classes, settings.overlap)[: settings.most]
    return kept_boxes[order], kept_scores[order], classes[order]

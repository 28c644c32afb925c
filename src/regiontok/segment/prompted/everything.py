"""SAM's everything-mode between prompts and masks: where prompts lie, and which masks stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import nms

from regiontok.core.masks import NotANumber
from regiontok.segment.prompted.granularity import Level

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

OFFSET = 1.0  # logits around the cut at 0 between which a stable mask hardly grows
SAME_IOU = 0.7  # box IoU above which of two masks the better one stays
PIECE_VALUES = 2**26  # values held while masks are enlarged: 256 MB of float32
LARGEST_HALF = 6e4  # logits are cut to it, so that float16 can hold them


@dataclass(frozen=True)
class CanvasPlacement:
    """Where a picture lies on the model's square canvas.

    Attributes:
        size: (H, W) of the picture in pixels.
        inside: (h, w) of its part of the canvas, in canvas pixels, from the upper left corner.
        canvas: side of the canvas.
        padded: True if the aspect was kept and the canvas padded (SAM, SAM-HQ); False if the
            picture was stretched over all of it.
    """

    size: tuple[int, int]
    inside: tuple[int, int]
    canvas: int
    padded: bool

    def prompts(self, side: int) -> Float[Tensor, "n 2"]:
        """The centres of `side` x `side` equal cells of the picture, as (x, y) of the canvas.

        >>> CanvasPlacement((100, 200), (32, 64), 64, padded=True).prompts(2).tolist()
        [[16.0, 8.0], [48.0, 8.0], [16.0, 24.0], [48.0, 24.0]]
        """
        half = 1 / (2 * side)
        line = torch.linspace(half, 1 - half, side)
        cells = torch.stack([line.repeat(side), line.repeat_interleave(side)], dim=-1)
        # transformers' order of operations, so that prompts on a square picture are its own to the
        # last bit
        pixels = cells * torch.tensor(self.size[::-1])
        return torch.stack(
            [pixels[:, axis] * (self.inside[1 - axis] / self.size[1 - axis]) for axis in (0, 1)],
            dim=-1,
        )

    def cropped(self, logits: Float[Tensor, "*k h w"]) -> Float[Tensor, "*k h w"]:
        """The picture's part of low-resolution logits.

        A row or column that is partly padding belongs to it.
        """
        h, w = (
            -(-side * inside // self.canvas)
            for side, inside in zip(logits.shape[-2:], self.inside, strict=True)
        )
        return logits[..., :h, :w]

    def full(self, logits: Float[Tensor, "k h w"]) -> Float[Tensor, "k H W"]:
        """Logits at the picture's own size, the way transformers' image processors enlarge them."""
        if not len(logits):
            return logits.new_zeros(0, *self.size)
        enlarged = logits[None]
        if self.padded:
            enlarged = interpolate(
                enlarged, (self.canvas, self.canvas), mode="bilinear", align_corners=False
            )
            enlarged = enlarged[..., : self.inside[0], : self.inside[1]]
        return interpolate(enlarged, self.size, mode="bilinear", align_corners=False)[0]

    def full_in_pieces(self, logits: Float[Tensor, "k h w"]) -> Iterator[Float[Tensor, "k H W"]]:
        """The result of `full`, a few masks at a time.

        150 masks of a 24-megapixel photo would take 14 GB at once.
        """
        largest = max(self.size[0] * self.size[1], self.canvas**2 if self.padded else 0)
        for piece in logits.split(max(1, PIECE_VALUES // largest)):
            yield self.full(piece.float())


@dataclass(frozen=True, eq=False)
class Candidates:
    """n masks that exceed a level's thresholds.

    At 96 prompts a side they could be 27,648, which are 3.6 GB of float16 at 256 x 256, until
    suppression leaves few.

    Attributes:
        scores: `[n]` the model's own estimate of IoU.
        boxes: `[n 4]` xyxy, in the pixels in which they were measured.
        logits: `[n h w]` the masks in low resolution, above 0 inside.
    """

    scores: Float[Tensor, "n"]
    boxes: Float[Tensor, "n 4"]
    logits: Float[Tensor, "n h w"]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: Int[Tensor, "i"] | Bool[Tensor, "n"]) -> Candidates:
        """The candidates of `index`, in its order."""
        return Candidates(self.scores[index], self.boxes[index], self.logits[index])

    @classmethod
    def joined(cls, groups: Sequence[Candidates]) -> Candidates:
        """The candidates of all groups, in order."""
        columns = [(group.scores, group.boxes, group.logits) for group in groups]
        return cls(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def distinct(self) -> Candidates:
        """The candidates, best first, without those whose box nearly equals a better one's."""
        return self.take(nms(self.boxes, self.scores, SAME_IOU))


def passing(
    logits: Float[Tensor, "p o h w"],
    scores: Float[Tensor, "p o"],
    level: Level,
    placement: CanvasPlacement,
    *,
    exact: bool,
) -> Candidates:
    """The masks of some prompts that exceed the level's thresholds.

    A threshold of 0 lets everything through, as in transformers.

    Args:
        logits: low-resolution masks, `o` a prompt, above 0 inside.
        scores: the model's own estimate of the IoU of each mask.
        level: the thresholds.
        placement: where the picture lies on the canvas.
        exact: measure at the picture's own size, not on the low-resolution masks, and keep logits
            as they are, not as float16.
    """
    good = _above(scores, level.iou)
    chosen = logits[good]
    pieces = placement.full_in_pieces(chosen) if exact else [placement.cropped(chosen)]
    stability, boxes = (
        torch.cat(column)
        for column in zip(*(_measured(piece, end=1 - exact) for piece in pieces), strict=True)
    )
    candidates = Candidates(scores[good], boxes, chosen).take(_above(stability, level.stability))
    if exact:
        return candidates
    # float16 moves an edge by 1/2000 of a low-resolution pixel; where logits are beyond its range
    # there is no edge
    return replace(candidates, logits=candidates.logits.clamp(-LARGEST_HALF, LARGEST_HALF).half())


def check_numbers(logits: Tensor, scores: Tensor) -> None:
    """Raise NotANumber if a mask decoder's masks or scores are NaN: no threshold would see it."""
    if bool(scores.isnan().any()) or bool(logits.isnan().any()):
        raise NotANumber("its mask decoder gives NaN")


def _above(values: Float[Tensor, "*k"], threshold: float) -> Bool[Tensor, "*k"]:
    """Which values exceed a threshold; 0 lets everything through, NaN too."""
    return values > threshold if threshold > 0 else torch.ones_like(values, dtype=torch.bool)


def _measured(
    logits: Float[Tensor, "k h w"], *, end: int
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 4"]]:
    """The stability and the box of each mask.

    Stability is the area at a stricter cut over the area at a looser one; NaN for an empty mask. A
    box ends `end` pixels behind its last one: transformers' ends at it, which on low resolution
    would shrink thin masks to nothing.
    """
    inner, outer = ((logits > cut).sum(-1, dtype=torch.int32).sum(-1) for cut in (OFFSET, -OFFSET))
    mask = logits > 0
    edges = []
    for line in (mask.any(-2), mask.any(-1)):  # columns, rows
        start = line.int().argmax(-1)
        stop = line.shape[-1] - 1 - line.flip(-1).int().argmax(-1) + end
        edges.append(torch.stack([start, stop], dim=-1) * line.any(-1, keepdim=True))
    boxes = torch.stack(edges, dim=-1).flatten(-2)  # [k start/stop x/y]
    return inner / outer, boxes.float()

"""SAM's everything-mode between prompts and masks: where the prompts lie, which masks are good,
which are the same, and their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import nms

from regiontok.segment.prompted.granularity import Level

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

OFFSET = 1.0  # logits around the cut at 0 between which a stable mask hardly grows
SAME = 0.7  # box IoU above which of two masks the better one stays
PIECE = 2**26  # values held while masks are enlarged: 256 MB of float32


@dataclass(frozen=True)
class Place:
    """Where a picture lies on the model's square canvas.

    Attributes:
        size: (H, W) of the picture in pixels.
        inside: (h, w) of its part of the canvas, in canvas pixels, from the upper left corner.
        canvas: side of the canvas.
        padded: the aspect was kept and the rest of the canvas padded (SAM, SAM-HQ); else the
            picture was stretched over all of it.
    """

    size: tuple[int, int]
    inside: tuple[int, int]
    canvas: int
    padded: bool

    def prompts(self, side: int) -> Float[Tensor, "n 2"]:
        """The centres of `side` x `side` equal cells of the picture, as (x, y) of the canvas: no
        part of it goes without.

        >>> Place((100, 200), (32, 64), 64, padded=True).prompts(2).tolist()
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

    def low(self, logits: Float[Tensor, "*k h w"]) -> Float[Tensor, "*k h w"]:
        """The picture's part of low-resolution logits; a row or column that is partly padding
        belongs to it."""
        h, w = (
            -(-side * inside // self.canvas)
            for side, inside in zip(logits.shape[-2:], self.inside, strict=True)
        )
        return logits[..., :h, :w]

    def full(self, logits: Float[Tensor, "k h w"]) -> Float[Tensor, "k H W"]:
        """Logits at the picture's own size, the way transformers' image processors enlarge them."""
        if not len(logits):
            return logits.new_zeros(0, *self.size)
        grown = logits[None]
        if self.padded:
            grown = interpolate(
                grown, (self.canvas, self.canvas), mode="bilinear", align_corners=False
            )
            grown = grown[..., : self.inside[0], : self.inside[1]]
        return interpolate(grown, self.size, mode="bilinear", align_corners=False)[0]

    def pieces(self, logits: Float[Tensor, "k h w"]) -> Iterator[Float[Tensor, "k H W"]]:
        """`full`, a few masks at a time: 150 masks of a 24-megapixel photo would take 14 GB at
        once."""
        largest = max(self.size[0] * self.size[1], self.canvas**2 if self.padded else 0)
        for some in logits.split(max(1, PIECE // largest)):
            yield self.full(some.float())


@dataclass(frozen=True, eq=False)
class Candidates:
    """n masks that passed. At 96 prompts a side they could be 27,648: 3.6 GB of float16 at 256 x
    256, until suppression leaves few.

    Attributes:
        scores: `[n]` the model's own estimate of IoU.
        boxes: `[n 4]` xyxy, in whichever pixels they were measured.
        logits: `[n h w]` the masks in low resolution, above 0 inside.
    """

    scores: Float[Tensor, "n"]
    boxes: Float[Tensor, "n 4"]
    logits: Float[Tensor, "n h w"]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: Int[Tensor, "i"] | Bool[Tensor, "n"]) -> Candidates:
        """Those of `index`."""
        return Candidates(self.scores[index], self.boxes[index], self.logits[index])

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """All of them, in order."""
        columns = [(part.scores, part.boxes, part.logits) for part in parts]
        return cls(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def distinct(self) -> Candidates:
        """Best first, without those whose box nearly equals a better one's."""
        return self.take(nms(self.boxes, self.scores, SAME))


def passed(
    logits: Float[Tensor, "p o h w"],
    scores: Float[Tensor, "p o"],
    level: Level,
    place: Place,
    *,
    exact: bool,
) -> Candidates:
    """The masks of some prompts that exceed the level's thresholds; a threshold of 0 lets
    everything through, as in transformers.

    Args:
        logits: low-resolution masks, `o` a prompt, above 0 inside.
        scores: the model's own estimate of each one's IoU.
        level: the thresholds.
        place: where the picture lies.
        exact: measure at the picture's own size, not on the low-resolution masks, and keep logits
            as they are, not as float16.
    """
    good = scores > level.iou if level.iou > 0 else torch.ones_like(scores, dtype=torch.bool)
    chosen = logits[good]
    pieces = place.pieces(chosen) if exact else [place.low(chosen)]
    stability, boxes = (
        torch.cat(column)
        for column in zip(*(_measured(piece, end=1 - exact) for piece in pieces), strict=True)
    )
    stable = (
        stability > level.stability
        if level.stability > 0
        else torch.ones_like(stability, dtype=torch.bool)
    )
    found = Candidates(scores[good], boxes, chosen).take(stable)
    # float16 moves an edge by 1/2000 of a low-resolution pixel; where logits are beyond its range
    # there is no edge
    return found if exact else replace(found, logits=found.logits.clamp(-6e4, 6e4).half())


def _measured(
    logits: Float[Tensor, "k h w"], *, end: int
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 4"]]:
    """Stability (area at a stricter cut over area at a looser one; NaN for an empty mask), and the
    box of each mask.

    A box ends `end` pixels behind its last one: transformers' ends at it, which on low resolution
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

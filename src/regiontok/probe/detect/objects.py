"""What is in a picture, and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from regiontok.core.masks import PixelMasks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Objects:
    """The true objects of one picture.

    Attributes:
        boxes: `[k 4]` xyxy in the picture's pixels.
        classes: `[k]` from 0.
        masks: the masks; None where there are none.
    """

    boxes: Float[Tensor, "k 4"]
    classes: Int[Tensor, "k"]
    masks: PixelMasks | None = None


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, the surest first.

    Attributes:
        boxes: `[k 4]` xyxy in the picture's pixels.
        scores: `[k]` from 0 to 1.
        classes: `[k]` from 0.
        masks: `[k H W]`; None where no masks are asked for.
    """

    boxes: Float[Tensor, "k 4"]
    scores: Float[Tensor, "k"]
    classes: Int[Tensor, "k"]
    masks: Bool[Tensor, "k H W"] | None = None

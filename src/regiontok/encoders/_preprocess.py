"""What a checkpoint's image processor does, as settings of a Frame and a table from bytes to the numbers a model is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.picture import RESAMPLE

if TYPE_CHECKING:
    from jaxtyping import Float

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """One image processor, read.

    Attributes:
        framing: "stretch" where it resizes to height and width, "crop" where it crops after resizing the shortest edge.
        canvas: (height, width) of its output.
        edge: the shortest edge before the crop, None under "stretch".
        resample: Pillow's name of the filter.
        factor: what bytes are multiplied by, usually 1/255.
        mean, std: what is then subtracted and divided by, a channel.
    """

    framing: Framing
    canvas: Pair
    edge: int | None
    resample: str
    factor: float
    mean: Triple
    std: Triple

    @classmethod
    def of(cls, processor: Any, name: str) -> Preprocess:
        """Read an image processor of transformers; `name` is for messages.

        Raises:
            ValueError: it does something that one fixed canvas cannot express.
        """
        size = _lengths(processor.size)
        crop = _lengths(processor.crop_size) if getattr(processor, "do_center_crop", None) else {}
        plain = processor.do_resize and processor.do_rescale and not getattr(processor, "do_pad", None)
        framing: Framing
        if plain and set(size) == {"height", "width"} and crop in ({}, size):
            framing, canvas, edge = "stretch", (size["height"], size["width"]), None
        elif plain and set(size) == {"shortest_edge"} and set(crop) == {"height", "width"}:
            framing, canvas, edge = "crop", (crop["height"], crop["width"]), size["shortest_edge"]
        else:
            steps = [f"{step}={getattr(processor, step, None)}" for step in ("do_resize", "do_rescale", "do_pad")]
            raise ValueError(
                f"{name}: expected an image processor that rescales, and resizes to height and width or to the shortest edge before a "
                f"center crop; got size {size}, crop {crop}, {', '.join(steps)}"
            )
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
        resample = {code: filters for filters, code in RESAMPLE.items()}[int(processor.resample)]
        return cls(framing, canvas, edge, resample, float(processor.rescale_factor), _triple(mean), _triple(std))

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of padding: the mean, cut to whole numbers as LLaVA cuts it."""
        red, green, blue = (int(255 * value) for value in self.mean)
        return red, green, blue

    def resized(self, size: int | None) -> Pair:
        """The canvas, or a square of another size."""
        return self.canvas if size is None else (size, size)

    def frame(self, image: Pair, patch: Pair, *, framing: Framing | None, size: int | None) -> Frame:
        """An image's frame; `framing` and `size` override the processor's, and the shortest edge grows with the canvas."""
        canvas = self.resized(size)
        edge = self.edge and round(self.edge * max(canvas) / max(self.canvas))
        return Frame.fit(framing or self.framing, image, canvas, patch, edge)

    def table(self) -> Float[Tensor, "3 256"]:
        """What a byte becomes in each channel, rounded as transformers rounds it: the product in float64, the rest in float32."""
        scaled = (np.arange(256) * self.factor).astype(np.float32)
        mean, std = (np.asarray(value, np.float32)[:, None] for value in (self.mean, self.std))
        return torch.from_numpy((scaled - mean) / std)


def _lengths(size: Any) -> dict[str, int]:
    return {side: int(length) for side, length in dict(size or {}).items() if length}


def _triple(value: Any) -> Triple:
    red, green, blue = np.broadcast_to(np.asarray(value, np.float64), 3).tolist()
    return red, green, blue

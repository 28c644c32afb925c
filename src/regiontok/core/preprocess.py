"""What a checkpoint's image processor does, as settings of a Frame and a table from bytes to the
numbers a model is fed.

Differs: a canvas that is not square is cropped to differently from transformers, whose shortest
edge would cut half away from a 2:1 picture under a 2:1 canvas: here the crop is the largest central
part of the canvas's shape, less what the processor itself cuts off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.picture import RESAMPLE
from regiontok.system.need import need
from regiontok.system.pretrained import quiet_transformers

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """One image processor, read.

    Attributes:
        framing: "stretch" where it resizes to height and width, "crop" where it crops after
            resizing the shortest edge.
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
        plain = (
            processor.do_resize and processor.do_rescale and not getattr(processor, "do_pad", None)
        )
        framing: Framing
        if plain and set(size) == {"height", "width"} and crop in ({}, size):
            framing, canvas, edge = "stretch", (size["height"], size["width"]), None
        elif plain and set(size) == {"shortest_edge"} and set(crop) == {"height", "width"}:
            framing, canvas, edge = "crop", (crop["height"], crop["width"]), size["shortest_edge"]
        else:
            steps = [
                f"{step}={getattr(processor, step, None)}"
                for step in ("do_resize", "do_rescale", "do_pad")
            ]
            raise ValueError(
                f"{name}: expected an image processor that rescales, and resizes to height and width or to the shortest edge before a "
                f"center crop; got size {size}, crop {crop}, {', '.join(steps)}"
            )
        mean, std = (
            (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
        )
        resample = {code: filters for filters, code in RESAMPLE.items()}[int(processor.resample)]
        return cls(
            framing,
            canvas,
            edge,
            resample,
            float(processor.rescale_factor),
            _triple(mean),
            _triple(std),
        )

    @classmethod
    def of_timm(cls, config: Mapping[str, Any], name: str, framing: Framing | None) -> Preprocess:
        """Read `timm.data.resolve_model_data_config`; a `framing` that is given takes the place of
        its crop.

        Raises:
            ValueError: it squashes to more than the canvas and then crops, and no framing was
                given.
        """
        _, high, wide = config["input_size"]
        share, mode = float(config["crop_pct"]), config.get("crop_mode") or "center"
        if framing is None and mode != "center" and share != 1:
            raise ValueError(
                f"{name}: crop_mode {mode!r} with crop_pct {share} is no framing of one fixed canvas; name one: "
                "framing='stretch', 'letterbox' or 'crop'"
            )
        own: Framing = {"center": "crop", "squash": "stretch", "border": "letterbox"}[mode]  # type: ignore[assignment]
        edge = int(max(high, wide) / share) if mode == "center" else None
        mean, std = _triple(config["mean"]), _triple(config["std"])
        return cls(own, (high, wide), edge, config["interpolation"], 1 / 255, mean, std)

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of padding: the mean, cut to whole numbers as LLaVA cuts it."""
        red, green, blue = (int(255 * value) for value in self.mean)
        return red, green, blue

    def resized(self, size: int | Pair | None) -> Pair:
        """The canvas, or one of another size: a side, or (height, width)."""
        return sides(size) or self.canvas

    def frame(
        self, image: Pair, patch: Pair, *, framing: Framing | None, size: int | Pair | None
    ) -> Frame:
        """An image's frame; `framing` and `size` override the processor's, and the shortest edge
        grows with the canvas."""
        canvas = self.resized(size)
        framing = framing or self.framing
        if framing == "crop" and size is not None and canvas[0] != canvas[1]:
            return self._cover(image, canvas, patch)
        edge = self.edge and round(self.edge * max(canvas) / max(self.canvas))
        return Frame.fit(framing, image, canvas, patch, edge)

    def _cover(self, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The central part of the canvas's shape; `edge / canvas` (256 / 224, say) is what is
        resized but cut off."""
        beyond = (self.edge or max(self.canvas)) / max(self.canvas)
        scale = max(side / length for side, length in zip(canvas, image, strict=True)) * beyond
        high, wide = (
            min(side / scale, float(length)) for side, length in zip(canvas, image, strict=True)
        )
        top, left = (image[0] - high) / 2, (image[1] - wide) / 2
        return Frame(image, (top, left, top + high, left + wide), canvas, (0, 0), canvas, patch)

    def table(self) -> Float[Tensor, "3 256"]:
        """What a byte becomes in each channel, rounded as transformers rounds it: the product in
        float64, the rest in float32."""
        scaled = (np.arange(256) * self.factor).astype(np.float32)
        mean, std = (np.asarray(value, np.float32)[:, None] for value in (self.mean, self.std))
        return torch.from_numpy((scaled - mean) / std)

    def values(
        self, pixels: UInt8[Tensor, "b 3 *rest"], device: torch.device | str, dtype: torch.dtype
    ) -> Float[Tensor, "b 3 *rest"]:
        """What the network is fed, on its device: bytes travel, and are looked up there (by
        `index_select`: on CPU 3.7 ms for 8 canvases of 336 x 336, by a fancy index 24)."""
        device = torch.device(device)
        if device.type == "cuda":
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        table = self.table().to(device, dtype)
        channels = pixels.to(device).int().unbind(1)
        looked = [
            row.index_select(0, byte.flatten()).view(byte.shape)
            for row, byte in zip(table, channels, strict=True)
        ]
        return torch.stack(looked, 1)


def sides(size: int | Pair | None) -> Pair | None:
    """(height, width) of a canvas: a square's side, or both."""
    return (size, size) if isinstance(size, int) else size


def _lengths(size: Any) -> dict[str, int]:
    return {side: int(length) for side, length in dict(size or {}).items() if length}


def _triple(value: Any) -> Triple:
    red, green, blue = np.broadcast_to(np.asarray(value, np.float64), 3).tolist()
    return red, green, blue


def image_processor(folder: Path) -> Any:
    """The image processor of a checkpoint's folder, in transformers' PIL backend.

    Raises:
        ValueError: the folder has none.
    """
    auto = need("transformers", extra="hub").AutoImageProcessor
    try:
        with quiet_transformers():
            return auto.from_pretrained(
                str(folder), backend="pil", trust_remote_code=False, local_files_only=True
            )
    except OSError:
        raise ValueError(
            f"{folder} has no preprocessor_config.json, which says how pixels are resized and normalised: copy it there from "
            "where the weights come from, or save an image processor into the folder"
        ) from None

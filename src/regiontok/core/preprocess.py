"""What a checkpoint's image processor does, as settings of a Frame and a table of pixel values.

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
from regiontok.system.loading import clear_model_errors
from regiontok.system.need import need
from regiontok.system.pretrained import quiet_transformers

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Triple = tuple[float, float, float]
# timm's words for how the canvas is cut from the picture
_FRAMING_OF_CROP_MODE: Mapping[str, Framing] = {
    "center": "crop",
    "squash": "stretch",
    "border": "letterbox",
}


@dataclass(frozen=True)
class Preprocess:
    """The settings of one image processor.

    Attributes:
        framing: "stretch" if it resizes to height and width, "crop" if it crops after resizing the
            shortest edge.
        canvas: (height, width) of its output.
        edge: length of the shortest edge before the crop, None under "stretch".
        resample: Pillow's name of the filter.
        factor: what bytes are multiplied by, usually 1/255.
        mean: what is then subtracted from each channel.
        std: what each channel is then divided by.
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
        """The settings of an image processor of transformers.

        Args:
            processor: the image processor.
            name: what messages call it.

        Raises:
            ValueError: If it does something that one fixed canvas cannot express.
        """
        size = _lengths(processor.size)
        crop = _lengths(processor.crop_size) if getattr(processor, "do_center_crop", None) else {}
        pads = getattr(processor, "do_pad", None)
        resizes = processor.do_resize and processor.do_rescale and not pads
        framing: Framing
        if resizes and set(size) == {"height", "width"} and crop in ({}, size):
            framing, canvas, edge = "stretch", (size["height"], size["width"]), None
        elif resizes and set(size) == {"shortest_edge"} and set(crop) == {"height", "width"}:
            framing, canvas, edge = "crop", (crop["height"], crop["width"]), size["shortest_edge"]
        else:
            switches = ("do_resize", "do_rescale", "do_pad")
            states = ", ".join(f"{word}={getattr(processor, word, None)}" for word in switches)
            raise ValueError(
                f"{name}: expected an image processor that rescales, and resizes to height and "
                "width or to the shortest edge before a center crop; "
                f"got size {size}, crop {crop}, {states}"
            )
        normalises = processor.do_normalize
        resample_names = {code: word for word, code in RESAMPLE.items()}
        return cls(
            framing=framing,
            canvas=canvas,
            edge=edge,
            resample=resample_names[int(processor.resample)],
            factor=float(processor.rescale_factor),
            mean=_triple(processor.image_mean if normalises else 0.0),
            std=_triple(processor.image_std if normalises else 1.0),
        )

    @classmethod
    def of_timm(cls, config: Mapping[str, Any], name: str, framing: Framing | None) -> Preprocess:
        """The settings in a timm model's data configuration.

        Args:
            config: what `timm.data.resolve_model_data_config` gives.
            name: what messages call the model.
            framing: takes the place of the configuration's crop, if it is not None.

        Raises:
            ValueError: If the configuration squashes to more than the canvas and then crops, and no
                framing is given.
        """
        _, height, width = config["input_size"]
        share, mode = float(config["crop_pct"]), config.get("crop_mode") or "center"
        if framing is None and mode != "center" and share != 1:
            raise ValueError(
                f"{name}: crop_mode {mode!r} with crop_pct {share} is no framing of one fixed "
                "canvas; name one: framing='stretch', 'letterbox' or 'crop'"
            )
        return cls(
            framing=_FRAMING_OF_CROP_MODE[mode],
            canvas=(height, width),
            edge=int(max(height, width) / share) if mode == "center" else None,
            resample=config["interpolation"],
            factor=1 / 255,
            mean=_triple(config["mean"]),
            std=_triple(config["std"]),
        )

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of padding: the mean, cut to whole numbers as LLaVA cuts it."""
        red, green, blue = (int(255 * value) for value in self.mean)
        return red, green, blue

    def resized(self, size: int | Pair | None) -> Pair:
        """(height, width) of a canvas of another size; None keeps the canvas."""
        return sides(size) or self.canvas

    def frame(
        self, image: Pair, patch: Pair, *, framing: Framing | None, size: int | Pair | None
    ) -> Frame:
        """The frame of an image.

        Args:
            image: size of the image in pixels.
            patch: size of one patch in pixels.
            framing: takes the place of the processor's framing, if it is not None.
            size: takes the place of the processor's canvas, if it is not None; the shortest edge
                grows with the canvas.
        """
        canvas = self.resized(size)
        framing = framing or self.framing
        if framing == "crop" and size is not None and canvas[0] != canvas[1]:
            return self._cover(image, canvas, patch)
        edge = self.edge and round(self.edge * max(canvas) / max(self.canvas))
        return Frame.fit(framing, image, canvas, patch, edge)

    def _cover(self, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The frame of the largest central part of the canvas's shape.

        `edge / canvas` (256 / 224, say) is what the processor resizes and then cuts off.
        """
        beyond = (self.edge or max(self.canvas)) / max(self.canvas)
        scale = max(side / length for side, length in zip(canvas, image, strict=True)) * beyond
        height, width = (
            min(side / scale, float(length)) for side, length in zip(canvas, image, strict=True)
        )
        top, left = (image[0] - height) / 2, (image[1] - width) / 2
        return Frame(
            image=image,
            crop=(top, left, top + height, left + width),
            resized=canvas,
            offset=(0, 0),
            canvas=canvas,
            patch=patch,
        )

    def table(self) -> Float[Tensor, "3 256"]:
        """What each byte becomes in each channel, rounded as transformers rounds it.

        The product is taken in float64, the rest in float32.
        """
        scaled = (np.arange(256) * self.factor).astype(np.float32)
        mean, std = (np.asarray(value, np.float32)[:, None] for value in (self.mean, self.std))
        return torch.from_numpy((scaled - mean) / std)

    def values(
        self, pixels: UInt8[Tensor, "b 3 *rest"], device: torch.device | str, dtype: torch.dtype
    ) -> Float[Tensor, "b 3 *rest"]:
        """What the network is fed, on its device.

        Bytes travel to the device and are looked up there, by `index_select`: for 8 canvases of
        336 x 336 that takes 3.7 ms on a CPU, a fancy index 24.
        """
        device = torch.device(device)
        if device.type == "cuda":
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        table = self.table().to(device, dtype)
        channels = [
            row.index_select(0, channel.flatten()).view(channel.shape)
            for row, channel in zip(table, pixels.to(device).int().unbind(1), strict=True)
        ]
        return torch.stack(channels, 1)


def sides(size: int | Pair | None) -> Pair | None:
    """(height, width) of a canvas that is named by the side of a square, or by both sides."""
    return (size, size) if isinstance(size, int) else size


def image_processor(folder: Path) -> Any:
    """The image processor in a checkpoint's folder, with transformers' PIL backend.

    Raises:
        ValueError: If the folder has none, or what it says is damaged.
    """
    auto = need("transformers", extra="hub").AutoImageProcessor
    with clear_model_errors(str(folder)), quiet_transformers():
        try:
            return auto.from_pretrained(
                str(folder), backend="pil", trust_remote_code=False, local_files_only=True
            )
        except OSError:
            raise ValueError(
                f"{folder} has no preprocessor_config.json, which says how pixels are resized and "
                "normalised: copy it there from where the weights come from, or save an image "
                "processor into the folder"
            ) from None


def _lengths(size: Any) -> dict[str, int]:
    return {side: int(length) for side, length in dict(size or {}).items() if length}


def _triple(value: Any) -> Triple:
    red, green, blue = np.broadcast_to(np.asarray(value, np.float64), 3).tolist()
    return red, green, blue

"""Crops of JPEGs that are decoded where the batch goes, by the decoder of a GPU.

After: nvJPEG, through torchvision (from 0.29 on it says that torchcodec will take its place).
Differs: decoded in full, where `decode_crop` decodes at a fraction; on photos both are within a
level of 255 in the mean. A GPU's decoder may let a file pass that is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from regiontok.shards.decode import decode_crop, plain_jpeg

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclass(frozen=True, eq=False)
class EncodedCrop:
    """A crop of an image that is not decoded yet.

    Attributes:
        data: the file.
        size: (H, W) of the image.
        crop: (y0, x0, y1, x1) of it.
        flipped: whether the view is mirrored.
        name: what error messages call the image.
    """

    data: bytes
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    flipped: bool
    name: str

    def pixels(
        self, target: tuple[int, int], *, later: bool = False
    ) -> tuple[UInt8[np.ndarray, "H W 3"], EncodedCrop | None]:
        """The crop at the size `target`, not mirrored; or zeros and the crop, to be decoded later.

        Args:
            target: (H, W) of the pixels.
            later: leave upright JPEGs of the right size for later.

        Raises:
            ShardError: If the image is not of its size.
            PictureError: If it cannot be decoded whole.
        """
        if later and plain_jpeg(self.data, self.size) is not None:
            return np.zeros((*target, 3), np.uint8), self
        return decode_crop(self.data, self.size, self.crop, target, self.name), None


def decode_crops(
    crops: Sequence[EncodedCrop], target: tuple[int, int], device: torch.device
) -> UInt8[Tensor, "b 3 H W"]:
    """Crops at the size `target`, on a device.

    Raises:
        PictureError: If an image can be decoded neither there nor on the CPU.
    """
    try:
        images: list[Tensor] = decode_jpeg(
            [torch.frombuffer(bytearray(crop.data), dtype=torch.uint8) for crop in crops],
            ImageReadMode.RGB,
            device=device,
        )
    except RuntimeError:  # one of them spoils it for all: the CPU's decoder names it
        return torch.stack([_on_cpu(crop, target) for crop in crops]).to(device)
    return torch.stack(
        [_resized(image, crop, target) for image, crop in zip(images, crops, strict=True)]
    )


def _resized(image: Tensor, crop: EncodedCrop, target: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    y0, x0, y1, x1 = crop.crop
    cut = image[None, :, y0:y1, x0:x1].float()
    pixels = interpolate(cut, target, mode="bicubic", antialias=True, align_corners=False)[0]
    pixels = pixels.round().clamp(0, 255).to(torch.uint8)
    return pixels.flip(2) if crop.flipped else pixels


def _on_cpu(crop: EncodedCrop, target: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    pixels, _ = crop.pixels(target)
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    return planes.flip(2) if crop.flipped else planes

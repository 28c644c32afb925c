"""Arrays and tensors of pixels as RGB of 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.formats import PictureError

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = (1, 3, 4)  # grey, RGB, RGB and alpha


def array_of_tensor(tensor: Tensor) -> np.ndarray:
    """A tensor's values with the channels last.

    Channels come first, as torch has them, wherever the first axis is 1, 3 or 4 long, whatever the
    height and the width; they come last where only the last one is. A tensor `[H W 3]` of 1, 3 or 4
    rows is so given as an array, which has its channels last, or permuted.
    """
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()
    channels_first = tensor.ndim == 3 and tensor.shape[0] in CHANNELS
    array: np.ndarray = (tensor.permute(1, 2, 0) if channels_first else tensor).numpy()
    return array


def rgb_of_array(array: np.ndarray, name: str) -> np.ndarray:
    """`[H W 3]` uint8 of an array `[H W]`, `[H W 1]`, `[H W 3]` or `[H W 4]`.

    Raises:
        PictureError: If the array has another shape or type, or values out of range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in CHANNELS or 0 in array.shape:
        raise PictureError(
            f"{name}: expected [H W], [H W 1], [H W 3] or [H W 4], got shape {list(array.shape)}"
        )
    pixels = eight_bits(array, name)
    if pixels.shape[-1] == 4:
        alpha = pixels[..., 3:].astype(np.uint32)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def eight_bits(array: np.ndarray, name: str) -> np.ndarray:
    """The values of an array in 8 bits: uint8, bool, uint16 divided by 257, floats in [0, 1].

    Raises:
        PictureError: If they are of another type, out of range, or not finite.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # a TIFF's may be big-endian
        return np.round(array / 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise PictureError(f"{name}: has NaN or infinite values")
        if array.min() < -1e-6 or array.max() > 1 + 1e-6:
            raise PictureError(
                f"{name}: floats must lie in [0, 1], got {array.min():.4g} to {array.max():.4g}; "
                "undo any normalisation first"
            )
        inside: np.ndarray = np.clip(array, 0, 1)
        return np.round(inside * 255).astype(np.uint8)
    raise PictureError(f"{name}: expected uint8, uint16 or float pixels, got {array.dtype}")

"""Images as a user gives them, one or many, decoded to pictures and clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from regiontok.core.addresses import SHOWN, bytes_at, is_address
from regiontok.core.clip import Clip
from regiontok.core.picture import Picture, Readable


def decode_images(images: Any) -> list[Picture | Clip]:
    """Decode one image or many; an array or tensor with four axes is a batch, a `Clip` stays one.

    Args:
        images: whatever `decode_image` takes, or an iterable of these.

    Raises:
        PictureError: If an image cannot be decoded.
        TypeError: If something else is given.
    """
    is_batch = getattr(images, "ndim", None) == 4
    if is_batch or (isinstance(images, Iterable) and not _is_single(images)):
        return [decode_image(image) for image in images]
    return [decode_image(images)]


def decode_image(image: Any) -> Picture | Clip:
    """A picture from whatever `Picture.of` takes, or an address; a `Clip` stays one.

    Args:
        image: a path, an address (`data:`, `http://`, `https://`), bytes, an open file, a Pillow
            image, an array, a tensor, or a clip.

    Raises:
        PictureError: If it cannot be decoded, or the address not be read.
        TypeError: If something else is given.
    """
    if isinstance(image, Clip):
        return image
    if is_address(image):
        return Picture.of(bytes_at(image), image[:SHOWN])
    return Picture.of(image)


def _is_single(images: Any) -> bool:
    """Whether something that can be iterated over is one image all the same."""
    return (
        isinstance(images, str | bytes | bytearray | memoryview | Path | Picture | Readable)
        or hasattr(images, "ndim")
        or hasattr(images, "getbands")
    )

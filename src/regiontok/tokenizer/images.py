"""Images as a user gives them, one or many, decoded to pictures and clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture


def decode_images(images: Any) -> list[Picture | Clip]:
    """Decode one image or many; an array or tensor with four axes is a batch, a `Clip` stays one.

    Args:
        images: whatever `Picture.of` takes (a path, bytes, a Pillow image, an array, a tensor), a
            `Clip`, or an iterable of these.

    Raises:
        PictureError: If an image cannot be decoded.
        TypeError: If something else is given.
    """
    is_batch = getattr(images, "ndim", None) == 4
    if is_batch or (isinstance(images, Iterable) and not _is_single(images)):
        return [image if isinstance(image, Clip) else Picture.of(image) for image in images]
    return [images if isinstance(images, Clip) else Picture.of(images)]


def _is_single(images: Any) -> bool:
    """Whether something that can be iterated over is one image all the same."""
    return (
        isinstance(images, str | bytes | bytearray | Path | Picture)
        or hasattr(images, "ndim")
        or hasattr(images, "getbands")
    )

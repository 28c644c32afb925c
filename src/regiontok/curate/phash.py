"""A perceptual hash: 64 bits that stay nearly the same when an image is scaled or compressed.

After: pHash's DCT hash, as in imagehash's `phash`.
Differs: a JPEG is decoded at the smallest fraction that is enough. Between different photos at
least 16 bits differ; JPEG at quality 20, half the size or another aspect change 0 to 2, a crop by 3
per cent 4, by 10 per cent 10, so that crops are not found at a distance of 3. Images without any
structure all have the hash 0, and count as duplicates of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn

from regiontok.core.decoding import check_limit, decoding, stored_size
from regiontok.core.formats import open_image
from regiontok.core.jpeg import check_jpeg
from regiontok.core.orientation import UPRIGHT, orientation_of
from regiontok.core.picture import Picture

SIDE = 32  # pixels of the reduced image
LOW = 8  # frequencies that are kept in each direction
LYING = 5  # orientations from here on swap height and width
_NAME = "image"  # what messages call it
FLAT = 1.0  # an image whose levels differ by less in every frequency has no structure


@dataclass(frozen=True)
class LookedAt:
    """What one look at an image says.

    Attributes:
        size: (H, W), upright.
        phash: its perceptual hash.
    """

    size: tuple[int, int]
    phash: int


def look_at(data: bytes) -> LookedAt:
    """Size and hash of an encoded image, which is decoded whole, if at a fraction.

    Raises:
        PictureError: If it cannot be decoded, or is too large.
    """
    size, image = _reduced(data)
    return LookedAt(size, perceptual_hash(image))


def image_size(data: bytes) -> tuple[int, int]:
    """(H, W) of an encoded image, upright, from its header.

    Raises:
        PictureError: If there is no such header, or it is too large.
    """
    return _upright(*stored_size(data, _NAME))


def perceptual_hash(image: Image.Image) -> int:
    """The hash of an image.

    >>> ramp = Image.fromarray(np.arange(256, dtype=np.uint8).repeat(64).reshape(128, 128))
    >>> f"{perceptual_hash(ramp):016x}" == f"{perceptual_hash(ramp.resize((50, 50))):016x}"
    True
    """
    levels = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), float)
    low = dctn(levels)[:LOW, :LOW].ravel()
    if np.abs(low[1:]).max() < FLAT * SIDE:
        return 0
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _reduced(data: bytes) -> tuple[tuple[int, int], Image.Image]:
    """(H, W) of an image, upright, and the image itself, a JPEG at a fraction of its size."""
    with decoding(_NAME), open_image(data) as image:
        check_limit(image)
        if image.format != "JPEG":
            picture = Picture.of(data)
            return picture.size, picture.pil
        check_jpeg(data)
        orientation = orientation_of(image)
        size = _upright((image.height, image.width), orientation)
        image.draft("L", (2 * SIDE, 2 * SIDE))
        image.load()
        turn = UPRIGHT.get(orientation)
        return size, image if turn is None else image.transpose(turn)


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= LYING else size

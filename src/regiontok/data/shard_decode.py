"""The part of an encoded image that a view shows, at the view's size; JPEG decoded at a fraction where that is enough.

After: libjpeg's scaled inverse transform, Pillow's draft mode.
Differs: only where at most half the resolution is asked for, and only for upright images, so that a crop's coordinates stay exact.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from regiontok.core.picture import Picture
from regiontok.data.shard_tar import ShardError

if TYPE_CHECKING:
    from jaxtyping import UInt8


def crop_of(
    data: bytes, size: tuple[int, int], crop: tuple[int, int, int, int], target: tuple[int, int], where: str = "image"
) -> UInt8[np.ndarray, "H W 3"]:
    """The part `crop` = (y0, x0, y1, x1) of an encoded image, resized (bicubic) to `target` = (H, W).

    An upright JPEG of which at most half the resolution is asked for is decoded at 1/2, 1/4 or 1/8 (libjpeg's scaled transform).

    Raises:
        ShardError: the image is not of `size`.
        PictureError: it cannot be decoded whole.
    """
    y0, x0, y1, x1 = crop
    ratio = min((y1 - y0) / target[0], (x1 - x0) / target[1])
    shrink = next((scale for scale in (8, 4, 2) if ratio >= scale), 1)
    image = _fast_jpeg(data, size, shrink)
    if image is None:
        image, shrink = Picture.of(data, where).pil, 1
        if image.size != size[::-1]:
            raise ShardError(
                f"{where}: {image.height} x {image.width} pixels (high x wide), the side-car says {size[0]} x {size[1]}"
            )
    elif image.size == size[::-1]:
        shrink = 1
    box = (x0 / shrink, y0 / shrink, x1 / shrink, y1 / shrink)
    part = image.resize(target[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))


def _fast_jpeg(data: bytes, size: tuple[int, int], shrink: int) -> Image.Image | None:
    """A JPEG that needs no more than decoding, without `Picture`'s copies and hash; None for every other case, damaged ones too."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        large = Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        if large or not upright or image.mode not in ("RGB", "L") or image.size != size[::-1]:
            return None
        if shrink > 1:
            image.draft(image.mode, (image.width // shrink, image.height // shrink))
        image.load()
    except Exception:  # decoders promise no list (see core/picture.py); Picture.of, which is asked next, says what is wrong
        return None
    return image

"""Small pictures inside a page: thumbnails, features as colours, maps of shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.measures.pca import pca_rgb

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LONGEST = 240  # pixels of a thumbnail
# Matplotlib's magma at five places (CC0), joined by straight lines.
RAMP = np.array(
    [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]], np.float64
)


def thumbnail(picture: Picture) -> Image.Image:
    """A small copy of the photo."""
    small = picture.pil.copy()
    small.thumbnail((LONGEST, LONGEST))
    return small


def pca_pictures(features: Sequence[Float[Tensor, "h w d"]]) -> list[Image.Image]:
    """The first three components as colours, one pixel a patch.

    All photos share the components.
    """
    return [
        Image.fromarray(np.round(255 * colours.numpy()).astype(np.uint8))
        for colours in pca_rgb(features, joint=True)
    ]


def heat(shares: Sequence[Sequence[float]]) -> Image.Image:
    """A map of shares 0 to 1, dark to light, one pixel a patch.

    >>> heat([[0.0, 1.0]]).getpixel((1, 0))
    (252, 253, 191)
    """
    place = np.asarray(shares, np.float64).clip(0, 1) * (len(RAMP) - 1)
    darker = np.minimum(place.astype(int), len(RAMP) - 2)
    share = (place - darker)[..., None]
    colours = RAMP[darker] * (1 - share) + RAMP[darker + 1] * share
    return Image.fromarray(np.round(colours).astype(np.uint8))

"""What pixel encoders share: canvases of pictures, laid ahead of their batch, and the pre-shuffle.

After: diagnostic study, section 3.3, Table 3 rows F and G (row D10, "pre-shuffle": the image's
patches are shuffled BEFORE the encoder).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture

Fill = tuple[int, int, int]
Settings = tuple[Frame, str, Fill, int | None]  # frame, resample, fill, shuffle

# Canvases that were laid before their batch, with their settings: each is held as long as its
# picture is, until `canvases` takes it.
_AHEAD: WeakKeyDictionary[Picture, tuple[Settings, np.ndarray]] = WeakKeyDictionary()


def canvases(
    pictures: Sequence[Picture],
    frames: Sequence[Frame],
    *,
    resample: str = "bicubic",
    fill: Fill = (0, 0, 0),
    shuffle: int | None = None,
) -> Tensor:
    """`[b 3 H W]` uint8: each picture on its frame's canvas.

    Args:
        pictures: b pictures of any sizes.
        frames: how each lies on its canvas; all canvases have one size.
        resample: name of the filter that resizes.
        fill: colour of padding.
        shuffle: seed of the pre-shuffle: the whole patches of each canvas change places, by a
            permutation of each picture's own. None leaves them in place.
    """
    laid = []
    for picture, frame in zip(pictures, frames, strict=True):
        settings = (frame, resample, fill, shuffle)
        laid_settings, canvas = _AHEAD.pop(picture, (None, None))
        if canvas is None or laid_settings != settings:
            canvas = _laid(picture, *settings)
        laid.append(canvas)
    return torch.from_numpy(np.stack(laid)).permute(0, 3, 1, 2).contiguous()


def lay_ahead(
    picture: Picture,
    frame: Frame,
    *,
    resample: str = "bicubic",
    fill: Fill = (0, 0, 0),
    shuffle: int | None = None,
) -> None:
    """Do a picture's share of `canvases` now, in any thread.

    The next call of `canvases` with this picture and the same settings takes the canvas from here.
    """
    settings = (frame, resample, fill, shuffle)
    _AHEAD[picture] = settings, _laid(picture, *settings)


def _laid(
    picture: Picture, frame: Frame, resample: str, fill: Fill, shuffle: int | None
) -> np.ndarray:
    canvas = frame.place(picture, resample=resample, fill=fill)
    return canvas if shuffle is None else shuffled(canvas, frame, seed_of(shuffle, picture.key))


def mean_fill(picture: Picture, frame: Frame) -> Fill:
    """The picture's mean colour if its canvas has padding, for encoders without one of their own.

    Black where there is no padding to fill.
    """
    if frame.resized == frame.canvas:
        return 0, 0, 0
    red, green, blue = picture.pixels.mean((0, 1)).round().astype(int).tolist()
    return red, green, blue


def shuffled(canvas: np.ndarray, frame: Frame, seed: int) -> np.ndarray:
    """The canvas with its whole patches permuted; what lies beyond the last whole patch stays."""
    (h, w), (height, width) = frame.grid, frame.patch
    order = np.random.default_rng(seed).permutation(h * w)
    patches = canvas[: h * height, : w * width].reshape(h, height, w, width, 3).swapaxes(1, 2)
    moved = patches.reshape(h * w, height, width, 3)[order]
    rows = moved.reshape(h, w, height, width, 3).swapaxes(1, 2)
    result = canvas.copy()
    result[: h * height, : w * width] = rows.reshape(h * height, w * width, 3)
    return result


def seed_of(seed: int, key: str) -> int:
    """A seed for each picture, by its key, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8], "big")


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` items that together cover `count` items.

    >>> list(batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + size, count)) for start in range(0, count, size))

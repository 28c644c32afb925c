"""What pixel encoders share: pictures on their canvases, ahead and batch by batch, and the
pre-shuffle of the token-order study.

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
# Canvases laid before their batch: by picture, for as long as it is held, until `canvases` takes
# them.
_AHEAD: WeakKeyDictionary[Picture, tuple[tuple, np.ndarray]] = WeakKeyDictionary()


def canvases(
    pictures: Sequence[Picture],
    frames: Sequence[Frame],
    *,
    resample: str = "bicubic",
    fill: Fill = (0, 0, 0),
    shuffle: int | None = None,
) -> Tensor:
    """`[b 3 H W]` uint8: each picture on its frame's canvas; all canvases have one size.

    `shuffle` is the seed of the pre-shuffle: the canvas is cut into whole patches, which change
    places, one permutation a picture.
    """
    placed = []
    for picture, frame in zip(pictures, frames, strict=True):
        how, canvas = _AHEAD.pop(picture, (None, None))
        wanted = (frame, resample, fill, shuffle)
        placed.append(canvas if canvas is not None and how == wanted else _laid(picture, *wanted))
    return torch.from_numpy(np.stack(placed)).permute(0, 3, 1, 2).contiguous()


def lay_ahead(
    picture: Picture,
    frame: Frame,
    *,
    resample: str = "bicubic",
    fill: Fill = (0, 0, 0),
    shuffle: int | None = None,
) -> None:
    """Do a picture's part of `canvases` now, in whatever thread: the next call with the same
    settings takes it from here."""
    wanted = (frame, resample, fill, shuffle)
    _AHEAD[picture] = wanted, _laid(picture, *wanted)


def _laid(
    picture: Picture, frame: Frame, resample: str, fill: Fill, shuffle: int | None
) -> np.ndarray:
    canvas = frame.place(picture, resample=resample, fill=fill)
    return canvas if shuffle is None else shuffled(canvas, frame, seed_of(shuffle, picture.key))


def mean_fill(picture: Picture, frame: Frame) -> Fill:
    """The picture's mean colour where its canvas has padding, for encoders without a colour of
    their own."""
    if frame.resized == frame.canvas:
        return 0, 0, 0
    red, green, blue = picture.pixels.mean((0, 1)).round().astype(int).tolist()
    return red, green, blue


def shuffled(canvas: np.ndarray, frame: Frame, seed: int) -> np.ndarray:
    """The canvas with its whole patches permuted; what lies beyond the last whole patch stays."""
    (h, w), (high, wide) = frame.grid, frame.patch
    order = np.random.default_rng(seed).permutation(h * w)
    part = canvas[: h * high, : w * wide]
    blocks = part.reshape(h, high, w, wide, 3).swapaxes(1, 2).reshape(h * w, high, wide, 3)[order]
    moved = canvas.copy()
    moved[: h * high, : w * wide] = (
        blocks.reshape(h, w, high, wide, 3).swapaxes(1, 2).reshape(h * high, w * wide, 3)
    )
    return moved


def seed_of(seed: int, key: str) -> int:
    """One seed a picture, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8], "big")


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` over `count` items."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))

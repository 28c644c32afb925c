"""Pictures made from a seed, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from regiontok.core.picture import Picture
from regiontok.miniworld.scenes import make_scene


def noise_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pixels `[H W 3]` uint8, each drawn by itself."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def noise(height: int, width: int, seed: int = 0) -> Picture:
    """A picture of white noise."""
    return Picture.of(noise_pixels(height, width, seed))


def noise_frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """The frames of a clip of white noise, `[H W 3]` uint8 each."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def waves(height: int, width: int, seed: int = 0) -> Picture:
    """Smooth colours with some noise: no photo, but neither flat nor white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None] / 20
    smooth = np.sin(y * rng.uniform(0.5, 2, 3) + x * rng.uniform(0.5, 2, 3) + rng.uniform(0, 6, 3))
    pixels = smooth * 90 + 128 + rng.normal(0, 10, (height, width, 3))
    return Picture.of(np.clip(pixels, 0, 255).astype(np.uint8))


def colour_blocks(seed: int, size: tuple[int, int] = (60, 84)) -> Picture:
    """Blocks of one colour each: some regions, another number of them for the next seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (2 + seed % 3, 3, 3), dtype=np.uint8)
    blocks = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.NEAREST)
    return Picture.of(np.array(blocks))


def blurred_photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """A smooth random photo of (height, width)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def coffee(height: int, width: int, top: int = 0, left: int = 0) -> Picture:
    """A part of scikit-image's photo of a cup of coffee."""
    crop = data.coffee()[top : top + height, left : left + width]
    return Picture.of(np.ascontiguousarray(crop))


def saved(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write pixels to a file, and the folder before it where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def one_colour(
    colour: tuple[int, int, int], size: tuple[int, int] = (60, 80), noise: int = 0, seed: int = 0
) -> Picture:
    """A picture of one colour, with uniform noise of so many levels."""
    shift = np.random.default_rng(seed).integers(-noise, noise + 1, (*size, 3))
    return Picture.of(np.clip(np.array(colour) + shift, 0, 255).astype(np.uint8))


def saved_scene(path: Path, seed: int, size: int | tuple[int, int] = 64) -> Path:
    """Write a generated scene to a file."""
    return saved(path, make_scene(seed, size).pixels)

"""Boolean arrays out of strangers' .npy files: masks as the photo lies in its file.

An array is taken by its header only if it is of bool, of the right shape, and exactly as long as it
says; nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from regiontok.core import decoding
from regiontok.core.formats import PictureError
from regiontok.core.masks import PixelMasks
from regiontok.core.npy_header import BadHeader, read_header
from regiontok.core.orientation import UPRIGHT
from regiontok.jobs.migrate.mask_folders import MOST_MASKS

MOST_PIXELS = 1 << 28  # pixels of one mask: 256 megapixels


def read_mask_array(path: Path) -> np.ndarray:
    """The masks of one file: `[k H W]` bool.

    The file holds an array `[H W]`, `[k H W]`, or an empty one. It is read only if its header and
    its length agree.

    Raises:
        ValueError: If the file holds anything else.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name}: not a plain file")
    with open(path, "rb") as file:
        shape, fortran, dtype = _read_header(file, path.name)
        if shape == (0,) and not dtype.hasobject:
            return np.zeros((0, 0, 0), bool)  # np.save([]) of an image without masks
        if dtype != np.bool_ or len(shape) not in (2, 3):
            raise ValueError(
                f"{path.name}: expected bool [H W] or [k H W], got {dtype} {list(shape)}"
            )
        count, height, width = (1, *shape) if len(shape) == 2 else shape
        _check_shape(path.name, count, height, width)
        size = path.stat().st_size - file.tell()
        if size != count * height * width:
            raise ValueError(
                f"{path.name}: {size} bytes for {count} x {height} x {width}; it is cut off, or "
                "has more in it"
            )
        if size == 0:
            return np.zeros((count, height, width), bool)
        # SAM's masks are transposed run-length codes: their files hold columns
        layout: Literal["F", "C"] = "F" if fortran else "C"
        values = np.memmap(file, np.uint8, "r", file.tell(), shape, layout)
        if int(values.max()) > 1:
            raise ValueError(f"{path.name}: it says bool and holds other values")
        return values.view(np.bool_).reshape(count, height, width)


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array whose file has just been opened."""
    try:
        return read_header(file)
    except BadHeader as error:
        raise ValueError(f"{name}: {error}") from None


def _check_shape(name: str, count: int, height: int, width: int) -> None:
    if min(height, width) < 1 or not 0 <= count <= MOST_MASKS or height * width > MOST_PIXELS:
        raise ValueError(
            f"{name}: {count} masks of {height} x {width} are more than {MOST_MASKS} of "
            f"{MOST_PIXELS} pixels, or none"
        )


def stored_size(data: bytes) -> tuple[tuple[int, int], Image.Transpose | None]:
    """(H, W) of a photo as it lies in its file, and the turn that stands it upright.

    Only the header is read.

    Raises:
        ValueError: If the bytes are no photo.
    """
    try:
        size, orientation = decoding.stored_size(data, "photo")
    except PictureError as error:
        raise ValueError(f"its picture cannot be read ({error})") from None
    return size, UPRIGHT.get(orientation)


def code_masks(file: Path, size: tuple[int, int], turn: Image.Transpose | None) -> PixelMasks:
    """The masks of one file, upright.

    Args:
        file: the .npy file.
        size: (H, W) of the photo as it lies in its own file.
        turn: what stands the photo upright.

    Raises:
        ValueError: If the file will not do, or its masks have another size than the photo.
    """
    dense = read_mask_array(file)
    if not len(dense):
        height, width = _upright(np.empty(size, bool), turn).shape
        return PixelMasks((height, width), ())
    if dense.shape[1:] != size:
        raise ValueError(
            f"{file.name}: masks of {dense.shape[1]} x {dense.shape[2]}, "
            f"the picture has {size[0]} x {size[1]}"
        )
    # one at a time: 95 of them are 29 MB
    coded = [PixelMasks.from_dense(_upright(mask, turn)[None]) for mask in dense]
    return PixelMasks(coded[0].size, tuple(masks.counts[0] for masks in coded))


def _upright(mask: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    if turn is None:
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).transpose(turn)) > 0

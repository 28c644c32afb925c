"""Label maps, a number under each pixel: PNGs (one channel, palette, panoptic) and npz archives."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from regiontok.core.decoding import loaded_png
from regiontok.core.masks import PixelMasks
from regiontok.core.npy_header import BadHeader, read_header
from regiontok.core.png import SIGNATURE
from regiontok.segment.formats.catalogue import Size, check_size
from regiontok.system.errors import is_out_of_memory

Ignore = int | Literal["auto"] | None
MAX_BYTES = 2**31  # what an array in an archive may take unpacked: 2 GiB are 6,990 masks of 640x480
# Pillow multiplies the greys of a PNG of 2 or 4 bits a pixel, to spread them over 0 to 255
GREY_STEP = {2: 85, 4: 17}
DENSE_MASKS = 32  # masks of an archive that are coded together


def label_map(path: Path, background: bool, ignore: Ignore, size: Size) -> PixelMasks:
    """One mask a label of a PNG with one channel of 1 to 16 bits, or with a palette.

    The label of a pixel in a palette's PNG is its index. `background` and `ignore` are as in
    `label_masks`.

    Raises:
        ValueError: If the file is no such PNG, is damaged, or of another size.
    """
    image, bits = _decoded_png(path, size)
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise ValueError(
            f"a label map has one channel, this has mode {image.mode}; "
            "a panoptic PNG needs its JSON: stored('...json')"
        )
    labels = np.asarray(image)
    labels = labels // GREY_STEP[bits] if image.mode == "L" and bits in GREY_STEP else labels
    return label_masks(labels, background, ignore, deep=bits > 8)


def label_masks(labels: np.ndarray, background: bool, ignore: Ignore, deep: bool) -> PixelMasks:
    """One mask a label, in the order of the labels, named by its number.

    Args:
        labels: `[H W]` integers; negative ones are no mask.
        background: whether label 0 is a mask like any other, or none.
        ignore: a further label that is no mask. "auto" ignores 255 where labels have 8 bits.
        deep: whether labels have more than 8 bits, so that 255 is a region like any other.

    Raises:
        ValueError: If, under "auto", nothing is left because 255 was ignored: that is what a binary
            mask looks like.
    """
    void = (None if deep else 255) if ignore == "auto" else ignore
    numbers = labels.astype(np.int64)
    unmasked = numbers < 0
    if not background:
        unmasked |= numbers == 0
    if void is not None:
        unmasked |= numbers == void
    if ignore == "auto" and void is not None and unmasked.all() and (numbers == void).any():
        raise ValueError(
            "there is no label but 0 and 255: is 255 the object (say ignore=None) "
            "or void (say ignore=255)?"
        )
    numbers[unmasked] = -1
    masks = PixelMasks.from_labels(numbers)
    names = tuple(str(label) for label in np.unique(numbers[~unmasked]))
    return PixelMasks(masks.size, masks.counts, names=names)


def panoptic_masks(
    path: Path, ids: Sequence[Any], names: tuple[str, ...] | None, size: Size
) -> PixelMasks:
    """One mask an id of a panoptic PNG, in the order of `ids`.

    An id that has no pixel gives an empty mask; the id 0 stands for nothing.

    Raises:
        ValueError: If the file is damaged, of another size, or has an id that is not among `ids`:
            then PNG and JSON do not belong together.
    """
    image, _ = _decoded_png(path, size)
    colours = np.asarray(image.convert("RGB")).astype(np.int64)
    labels = colours @ np.array([1, 256, 65536])
    unknown = np.setdiff1d(labels, [0, *ids])
    if len(unknown):
        raise ValueError(
            f"it has {len(unknown)} segments that the JSON does not list, first {unknown[0]}: "
            "not its PNG?"
        )
    codes: list[bytes] = []
    for segment_id in ids:
        codes.extend(PixelMasks.from_dense((labels == segment_id)[None]).counts)
    return PixelMasks(size, tuple(codes), names=names)


def npz_masks(path: Path, background: bool, ignore: Ignore, size: Size) -> PixelMasks:
    """The masks of an npz archive, of which nothing is unpickled.

    It holds either `masks` `[k H W]` (bool, or integers: not 0 is inside) or `labels` `[H W]`
    (integers), which `background` and `ignore` go with as in `label_masks`.

    Raises:
        ValueError: If the file is damaged, has neither array or both, or holds objects, or more
            bytes than `MAX_BYTES`: that is checked before anything is unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted({"masks.npy", "labels.npy"} & set(archive.namelist()))
            if len(names) != 1:
                raise ValueError(
                    "expected an array `masks` or `labels`, got "
                    f"{', '.join(archive.namelist()[:5]) or 'nothing'}"
                )
            _check_header(archive, names[0], size)
            with archive.open(names[0]) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
    except ValueError:
        raise
    except Exception as error:
        # zipfile and zlib promise no list: BadZipFile, EOFError, RuntimeError (a password),
        # NotImplementedError (another compression), struct.error and zlib.error were met
        if is_out_of_memory(error):
            raise ValueError(f"no memory is left for its array ({error})") from None
        raise ValueError(f"not an npz archive, or damaged ({error})") from None
    if names[0] == "labels.npy":
        return label_masks(array, background, ignore, deep=array.dtype.itemsize > 1)
    starts = range(0, len(array), DENSE_MASKS)
    pieces = [PixelMasks.from_dense(array[start : start + DENSE_MASKS]) for start in starts]
    return PixelMasks(size, tuple(code for piece in pieces for code in piece.counts))


def _check_header(archive: zipfile.ZipFile, name: str, size: Size) -> None:
    """Raise ValueError unless the header of an array announces what may be read."""
    with archive.open(name) as member:
        try:
            shape, _, dtype = read_header(member)
        except BadHeader as error:
            raise ValueError(f"{name}: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are not loaded")
    if dtype.kind not in "bui":
        raise ValueError(f"{name} must be bool or integers, got {dtype}")
    if len(shape) != (2 if name == "labels.npy" else 3):
        raise ValueError(
            f"expected masks [k H W] or labels [H W], got {name} of shape {list(shape)}"
        )
    check_size(shape[-2:], size)
    if prod(shape) * dtype.itemsize > MAX_BYTES:
        gibibytes = prod(shape) * dtype.itemsize / 2**30
        raise ValueError(
            f"{name} would take {gibibytes:.1f} GiB, more than {MAX_BYTES / 2**30:.0f}"
        )


def _decoded_png(path: Path, size: Size) -> tuple[Image.Image, int]:
    """The PNG as it is, and its bits a channel.

    A file of another size than the picture is never decoded, so no decompression bomb gets through.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from None
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    image = loaded_png(data, path.name, partial(check_size, size=size))
    return image, data[24]

"""Label maps: a number under each pixel, in PNGs (one channel, palette or panoptic colours) and in
npz archives."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from regiontok.core.masks import PixelMasks
from regiontok.segment.formats.index import Size, fits

Ignore = int | Literal["auto"] | None
MAX_BYTES = 2**31  # what an array in an archive may take unpacked: 2 GiB are 6,990 masks of 640x480
# A PNG of 2 or 4 bits a pixel: Pillow spreads its greys over 0 to 255 when it decodes.
SPREAD = {2: 85, 4: 17}


def label_map(path: Path, background: bool, ignore: Ignore, size: Size) -> PixelMasks:
    """One mask a label of a PNG with one channel of 1 to 16 bits, or with a palette, where the
    label is the index.

    Raises:
        ValueError: not such a PNG, damaged, or of another size.
    """
    image, bits = _png(path, size)
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise ValueError(
            f"a label map has one channel, this has mode {image.mode}; a panoptic PNG needs its JSON: stored('...json')"
        )
    labels = np.asarray(image)
    labels = labels // SPREAD[bits] if image.mode == "L" and bits in SPREAD else labels
    return label_masks(labels, background, ignore, deep=bits > 8)


def label_masks(labels: np.ndarray, background: bool, ignore: Ignore, deep: bool) -> PixelMasks:
    """One mask a label, in their order, named by its number. Negative labels, 0 (unless
    `background`) and `ignore` are no mask.

    Ignoring "auto" is ignoring 255, and only where labels have 8 bits: in `deep` maps 255 is a
    region like any other.

    Raises:
        ValueError: under "auto", nothing is left because 255 was ignored: that is what a binary
            mask looks like.
    """
    void = (None if deep else 255) if ignore == "auto" else ignore
    numbers = labels.astype(np.int64)
    gone = numbers < 0
    if not background:
        gone |= numbers == 0
    if void is not None:
        gone |= numbers == void
    if ignore == "auto" and void is not None and gone.all() and (numbers == void).any():
        raise ValueError(
            "there is no label but 0 and 255: is 255 the object (say ignore=None) or void (say ignore=255)?"
        )
    numbers[gone] = -1
    masks = PixelMasks.from_labels(numbers)
    return PixelMasks(
        masks.size, masks.counts, names=tuple(str(one) for one in np.unique(numbers[~gone]))
    )


def panoptic_masks(
    path: Path, ids: Sequence[Any], names: tuple[str, ...] | None, size: Size
) -> PixelMasks:
    """One mask an id, in the order of `ids`; an id that has no pixel gives an empty mask; 0 is
    nothing.

    Raises:
        ValueError: damaged, of another size, or with an id that `ids` does not have: then PNG and
            JSON do not belong together.
    """
    image, _ = _png(path, size)
    colours = np.asarray(image.convert("RGB")).astype(np.int64)
    labels = colours @ np.array([1, 256, 65536])
    unknown = np.setdiff1d(labels, [0, *ids])
    if len(unknown):
        raise ValueError(
            f"it has {len(unknown)} segments that the JSON does not list, first {unknown[0]}: not its PNG?"
        )
    counts: list[bytes] = []
    for one in ids:
        counts.extend(PixelMasks.from_dense((labels == one)[None]).counts)
    return PixelMasks(size, tuple(counts), names=names)


def npz_masks(path: Path, background: bool, ignore: Ignore, size: Size) -> PixelMasks:
    """`masks` `[k H W]` (bool, or integers: not 0 is inside) or `labels` `[H W]` (integers) of an
    npz archive. Nothing is unpickled.

    Raises:
        ValueError: damaged, neither or both of the two, objects, or more bytes than `MAX_BYTES`:
            checked before anything is unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = sorted({"masks.npy", "labels.npy"} & set(archive.namelist()))
            if len(found) != 1:
                raise ValueError(
                    f"expected an array `masks` or `labels`, got {', '.join(archive.namelist()[:5]) or 'nothing'}"
                )
            _announced(archive, found[0], size)
            with archive.open(found[0]) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, MemoryError) as error:
        raise ValueError(f"not an npz archive, or damaged ({error})") from None
    if found[0] == "labels.npy":
        return label_masks(array, background, ignore, deep=array.dtype.itemsize > 1)
    parts = [PixelMasks.from_dense(array[i : i + 32]).counts for i in range(0, len(array), 32)]
    return PixelMasks(size, tuple(code for part in parts for code in part))


def _announced(archive: zipfile.ZipFile, name: str, size: Size) -> None:
    """Raise ValueError unless the header of an array says what may be read."""
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has the array format {version}, expected 1.0 or 2.0")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are not loaded")
    if dtype.kind not in "bui":
        raise ValueError(f"{name} must be bool or integers, got {dtype}")
    if len(shape) != (2 if name == "labels.npy" else 3):
        raise ValueError(
            f"expected masks [k H W] or labels [H W], got {name} of shape {list(shape)}"
        )
    fits(shape[-2:], size)
    if prod(shape) * dtype.itemsize > MAX_BYTES:
        raise ValueError(
            f"{name} would take {prod(shape) * dtype.itemsize / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:.0f}"
        )


def _png(path: Path, size: Size) -> tuple[Image.Image, int]:
    """The decoded PNG as it is, and its bits a channel. A file of another size than the picture is
    never decoded: no bomb gets through."""
    try:
        with path.open("rb") as file:
            head = file.read(25)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                fits(image.size[::-1], size)
                image.load()
                return image, head[24]
    except UnidentifiedImageError:
        raise ValueError("not a PNG") from None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from None
    except (
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        zlib.error,
    ) as error:
        raise ValueError(f"damaged or truncated ({error or type(error).__name__})") from None

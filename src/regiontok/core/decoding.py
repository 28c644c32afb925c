"""Bytes of an image file, and images of Pillow, as upright RGB of 8 bits, whole or not at all.

What stands beside the pixels (texts, profiles, EXIF) never loses a picture. Where damage can be
known it is an error: by the checksums of a PNG, the end marker and the Huffman tables of a JPEG,
zeros in an AVIF and needless ones in a WebP, and whatever the decoders themselves refuse. It cannot
be known where the format has no checksum and the damaged bytes stand for pixels like any others: in
BMP, PPM, TGA and uncompressed TIFF, where bytes in the middle of a JPEG or WebP became other
plausible ones, and in a Pillow image that its owner has loaded already.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from regiontok.core.avif import check_avif
from regiontok.core.formats import FORMATS, HEIF, PictureError, open_image
from regiontok.core.jpeg import check_jpeg
from regiontok.core.orientation import UPRIGHT, orientation_of
from regiontok.core.pixel_arrays import rgb_of_array
from regiontok.core.png import SIGNATURE, announced_bytes, stream_bytes, whole_pixels
from regiontok.core.webp import check_webp
from regiontok.system.errors import is_out_of_memory
from regiontok.system.need import MissingPackage

# Bytes a pixel takes while it is decoded: Pillow's four, the result's three, and a turned copy's.
BYTES_A_PIXEL = 12
_STRIP = 2**20  # pixels that are converted at a time


class NoMemoryError(PictureError, MemoryError):
    """An image for which this machine has no memory left; the file may be whole."""


class Strictness:
    """Pillow's switch for truncated files, off while any thread decodes here.

    The switch is one for the whole process, and other libraries set it; a half picture would pass.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, False

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    ImageFile.LOAD_TRUNCATED_IMAGES = self._before


STRICTNESS = Strictness()
_LARGE = threading.Lock()  # one image at a time is tried again when memory was short


def rgb_of_bytes(data: bytes, name: str) -> np.ndarray:
    """The pixels of an image file: `[H W 3]` uint8, upright.

    Raises:
        PictureError: If it is no image of a known format, is damaged or too large.
        NoMemoryError: If there is no memory for it, also when it is decoded alone.
    """
    if not data:
        raise PictureError(f"{name}: empty (0 bytes)")
    try:
        return _decoded(data, name)
    except NoMemoryError:
        with _LARGE:  # others may have let go of theirs
            return _decoded(data, name)


def _decoded(data: bytes, name: str) -> np.ndarray:
    with decoding(name):
        orientation = None
        if data.startswith(SIGNATURE):
            data, orientation = whole_pixels(data)
        elif data[:3] == b"\xff\xd8\xff":
            check_jpeg(data)
        with open_image(data) as image:
            check_limit(image)
            if image.format == "AVIF":
                check_avif(data)
            with _memory_for(image):
                image.load()
                if image.format == "PNG":
                    _check_stream(data, image)
                if image.format == "WEBP" and not _is_animated(image):
                    check_webp(data, _load)
                if image.format == HEIF:
                    orientation = 1  # its decoder has turned it
                return _upright_rgb(image, name, orientation)


def loaded_png(
    data: bytes, name: str, check: Callable[[tuple[int, int]], None] = lambda size: None
) -> Image.Image:
    """The image of a PNG as it lies in its file, with the indices of a palette, whole.

    Args:
        data: the file.
        name: what messages call it.
        check: is called with (H, W) before anything is decoded, and may raise a ValueError.

    Raises:
        PictureError: If it is no PNG, is damaged or too large.
    """
    with decoding(name):
        data, _ = whole_pixels(data) if data.startswith(SIGNATURE) else (data, 1)
        with open_image(data, ("PNG",)) as image:
            size = image.height, image.width
            try:
                check(size)
            except ValueError as error:
                raise PictureError(str(error)) from None
            check_limit(image)
            with _memory_for(image):
                image.load()
                _check_stream(data, image)
                return image


def stored_size(data: bytes, name: str) -> tuple[tuple[int, int], int]:
    """(H, W) of a photo as it lies in its file, and its orientation; only the head is read.

    Raises:
        PictureError: If the bytes are no photo.
    """
    with decoding(name):
        orientation = None
        if data.startswith(SIGNATURE):
            data, orientation = whole_pixels(data)
        with open_image(data) as image:
            said = orientation_of(image) if orientation is None else orientation
            return (image.height, image.width), 1 if image.format == HEIF else said


def rgb_of_image(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of a Pillow image: `[H W 3]` uint8, upright.

    Raises:
        PictureError: If it cannot be loaded, or its values are out of range.
    """
    with decoding(name), _memory_for(image):
        image.load()  # before the orientation is read: loading a damaged file raises here
        return _upright_rgb(image, name, None)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow's decoders raise into one PictureError, and keep their warnings in.

    Args:
        name: what messages call the image.
    """
    try:
        with warnings.catch_warnings(), STRICTNESS.held():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except PictureError:
        raise
    except MissingPackage as error:
        raise PictureError(f"{name}: a HEIC or HEIF; {error}") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{name}: not an image of a known format ({', '.join((*FORMATS, HEIF))})"
        ) from None
    except Image.DecompressionBombError:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise PictureError(
            f"{name}: more than {limit:.0f} million pixels; if you trust the file, "
            "raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except Exception as error:
        # Decoders promise no list: 48,000 damaged files gave OSError, SyntaxError, ValueError,
        # EOFError, KeyError, struct.error (EXIF) and RuntimeError (AVIF).
        if is_out_of_memory(error):
            raise NoMemoryError(
                f"{name}: this machine has no memory left for it ({error or 'out of memory'}); the "
                "file may be whole: try it again alone, or with fewer --workers"
            ) from None
        raise PictureError(
            f"{name}: damaged or truncated ({error or type(error).__name__})"
        ) from None


def check_limit(image: Image.Image) -> None:
    """Raise Pillow's DecompressionBombError at its limit; itself it only warns up to twice that."""
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


@contextmanager
def _memory_for(image: Image.Image) -> Iterator[None]:
    """Call a decoder's failure what it is where the memory is too short: most do not say so."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or not _has_memory(image.width * image.height * BYTES_A_PIXEL):
            raise MemoryError(f"{image.width} x {image.height} pixels") from error
        raise


def _has_memory(count: int) -> bool:
    try:
        np.empty(count, np.uint8)  # nothing is written there: it only asks
    except MemoryError:
        return False
    return True


def _is_animated(image: Image.Image) -> bool:
    return bool(image.info.get("loop") is not None and getattr(image, "n_frames", 1) > 1)


def _load(data: bytes) -> None:
    with open_image(data) as image:
        image.load()


def _check_stream(data: bytes, image: Image.Image) -> None:
    """Refuse a PNG whose pixels end early; only one whose last row is 0 needs to be counted."""
    last_row = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    if last_row.strip(b"\0") and not image.info.get("interlace"):
        return
    expected = announced_bytes(data)
    count = stream_bytes(data, expected)
    if count < expected:
        raise ValueError(f"its pixels end after {count} of {expected} bytes")


def _upright_rgb(image: Image.Image, name: str, orientation: int | None) -> np.ndarray:
    """RGB of a loaded image, turned by an orientation; None reads the image's own."""
    if 0 in image.size:
        raise PictureError(f"{name}: has no pixels, its size is {image.width} x {image.height}")
    turn = UPRIGHT.get(orientation_of(image) if orientation is None else orientation)
    image = image if turn is None else image.transpose(turn)
    if image.mode == "I":
        return rgb_of_array(_sixteen_bits(image, name), name)
    if image.mode == "F" or image.mode.startswith("I;16"):
        return rgb_of_array(np.asarray(image), name)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom)) if rows < image.height else image
        pixels[top:bottom] = np.asarray(_over_white(strip))
    return pixels


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _sixteen_bits(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of an image of Pillow's mode I, which says nothing of how white is written."""
    integers = np.asarray(image)
    lowest, highest = int(integers.min()), int(integers.max())
    if lowest < 0 or highest > 65535:
        raise PictureError(f"{name}: integers from {lowest} to {highest} are not 16-bit pixels")
    if 1 < highest < 256 and image.format != "PPM":  # Pillow spreads a PPM's over 16 bits
        raise PictureError(
            f"{name}: integers from {lowest} to {highest} in Pillow's mode I may be of 8 bits or "
            "of 16: give uint8 (image.convert('L')) or uint16 (numpy.asarray(image, numpy.uint16))"
        )
    return integers.astype(np.uint16)

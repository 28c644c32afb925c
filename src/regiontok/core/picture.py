"""Picture: decoded pixels, upright and RGB. The only place that decodes an image.

Whatever comes in (path, bytes, Pillow image, array, tensor) leaves as `[H W 3]` uint8 with a key.
What cannot be decoded whole is a `PictureError`: nothing is guessed, no half picture gets through.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

# Formats whose Pillow decoder stays inside Pillow: EPS, for one, would start Ghostscript on a
# stranger's file.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm .jp2 .j2k .tga".split()
)
MAX_BYTES = 512 * 2**20
WHOLE = 32
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
# EXIF orientation -> what stands the picture upright (Pillow's ImageOps.exif_transpose also
# rewrites the EXIF block, and a damaged one
# then loses a photo whose pixels are whole)
_TURNS = (
    "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()
)
UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}


class PictureError(ValueError):
    """An image that cannot be decoded whole; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image.

    Attributes:
        pixels: `[H W 3]` uint8, upright (EXIF orientation applied), RGB, read-only.
        key: hash of the bytes it was read from (of the pixels and their shape for arrays): the same
            bytes, the same key.
        name: what to call it in messages and tables.

    >>> Picture.of(np.zeros((4, 6, 3), np.uint8)).size
    (4, 6)
    """

    pixels: np.ndarray
    key: str
    name: str = "image"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @classmethod
    def of(cls, source: Any, name: str | None = None) -> Picture:
        """A picture from a path, bytes, a Pillow image, an array `[H W]`, `[H W 1|3|4]`, or a
        tensor `[1|3|4 H W]` or as an array.

        Integers are uint8 (or uint16, divided by 257); floats lie in [0, 1]. Alpha is laid over
        white; palettes, CMYK, 16-bit and 1-bit images become RGB; of an animation the first frame
        is taken.

        Raises:
            PictureError: unreadable, truncated, empty, too large, or values out of range.
            TypeError: a source of another kind.
        """
        if isinstance(source, Picture):
            return source
        if isinstance(source, str | Path):
            path = Path(source)
            return _decode(_read(path), name or str(path))
        if isinstance(source, bytes | bytearray | memoryview):
            return _decode(bytes(source), name or "bytes")
        if isinstance(source, Image.Image):
            with _decoding(name or "image"):
                pixels = _rgb(source, name or "image")
        elif hasattr(source, "detach"):
            pixels = _from_array(_channels_last(source.detach().cpu()), name or "tensor")
        elif isinstance(source, np.ndarray):
            pixels = _from_array(source, name or "array")
        else:
            raise TypeError(
                f"expected a path, bytes, a Pillow image, an array or a tensor; got {type(source).__name__}"
            )
        digest = hashlib.sha256(f"pixels {pixels.shape}".encode() + pixels.tobytes())
        return cls(_frozen(pixels), digest.hexdigest()[:32], name or "image")

    @cached_property
    def pil(self) -> Image.Image:
        """The pixels as a Pillow image."""
        return Image.fromarray(self.pixels)

    def resized(
        self, size: tuple[int, int], crop: tuple[float, float, float, float], resample: str
    ) -> np.ndarray:
        """The part `crop` = (y0, x0, y1, x1), in pixels, resized to `size` = (h, w): `[h w 3]`
        uint8.

        Where the crop is a cut of the whole picture resized to whole pixels, that is what is done,
        as image processors do: Pillow orders its two passes by the sizes of input and output, and
        the other order rounds otherwise (1 level of 255, singly 17). A picture that would become
        more than `WHOLE` times the cut (20,000 x 10) is resized within the crop alone; the filter
        still reads beyond it where the picture goes on.
        """
        method = Image.Resampling(RESAMPLE[resample])
        (y0, x0, y1, x1), (h, w) = crop, size
        full = (self.size[0] * h / (y1 - y0), self.size[1] * w / (x1 - x0))
        start = (y0 * h / (y1 - y0), x0 * w / (x1 - x0))
        high, wide, top, left = (round(value) for value in (*full, *start))
        aligned = np.allclose((*full, *start), (high, wide, top, left), rtol=0, atol=1e-6)
        if aligned and high * wide <= WHOLE * h * w:
            return np.array(
                self.pil.resize((wide, high), method).crop((left, top, left + w, top + h))
            )
        return np.array(self.pil.resize((w, h), method, box=(x0, y0, x1, y1)))


def key_of(data: bytes) -> str:
    """The key of a picture read from these bytes, known before they are decoded.

    >>> key_of(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()[:32]


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise PictureError(f"{path}: no such file")
        if not path.is_file():
            raise PictureError(f"{path}: a folder or device, not an image file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PictureError(
                f"{path}: {size / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB an image may have"
            )
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror})") from error


def _decode(data: bytes, name: str) -> Picture:
    if not data:
        raise PictureError(f"{name}: empty (0 bytes)")
    with _decoding(name), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError  # Pillow itself only warns up to twice the limit
        image.load()
        if image.format == "PNG":
            _check_png(data, image, name)
        pixels = _rgb(image, name)
    return Picture(_frozen(pixels), key_of(data), name)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever Pillow's decoders raise becomes one PictureError; what they warn of stays inside."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            f"{name}: not an image of a known format ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise PictureError(
            f"{name}: more than {limit:.0f} million pixels; if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except Exception as error:
        # Decoders promise no list: 48,000 damaged files gave OSError, SyntaxError, ValueError,
        # EOFError, KeyError, struct.error (EXIF),
        # RuntimeError (AVIF); MemoryError is what a lying header ends in.
        raise PictureError(
            f"{name}: damaged or truncated ({error or type(error).__name__})"
        ) from None


def _check_png(data: bytes, image: Image.Image, name: str) -> None:
    """Pillow takes a PNG whose compressed stream ends early for a whole one: the rows that did not
    come stay 0."""
    last = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    if not image.info.get("interlace") and last.strip(b"\0"):
        return
    wide, high, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    # x, y, every x, every y
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    expected = 0
    for x, y, every_x, every_y in passes if interlace else ((0, 0, 1, 1),):
        cols, rows = len(range(x, wide, every_x)), len(range(y, high, every_y))
        expected += rows * (1 + (cols * bits + 7) // 8) if cols else 0
    found, at, stream = 0, 8, zlib.decompressobj()
    while found < expected and at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            found += len(stream.decompress(data[at + 8 : at + 8 + length], expected - found))
        at += 12 + length
    if found < expected:
        raise PictureError(
            f"{name}: damaged or truncated (its pixels end after {found} of {expected} bytes)"
        )


def _rgb(image: Image.Image, name: str) -> np.ndarray:
    if 0 in image.size:
        raise PictureError(f"{name}: has no pixels, its size is {image.width} x {image.height}")
    image.load()  # before the orientation: loading a damaged file raises here
    turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    image = image if turn is None else image.transpose(turn)
    if image.mode == "I":
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise PictureError(
                f"{name}: integers from {wide.min()} to {wide.max()} are not 16-bit pixels"
            )
        return _from_array(wide.astype(np.uint16), name)
    if image.mode == "F" or image.mode.startswith("I;16"):
        return _from_array(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _channels_last(tensor: Any) -> np.ndarray:
    first = tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4)
    if tensor.is_floating_point():
        tensor = tensor.float()
    return (tensor.permute(1, 2, 0) if first else tensor).numpy()


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise PictureError(
            f"{name}: expected [H W], [H W 1], [H W 3] or [H W 4], got shape {list(array.shape)}"
        )
    pixels = _eight_bits(array, name)
    if pixels.shape[-1] == 4:
        alpha = pixels[..., 3:].astype(np.uint32)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _eight_bits(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if (
        array.dtype.kind == "u" and array.dtype.itemsize == 2
    ):  # of either byte order: a TIFF may hold big-endian ones
        return np.round(array / 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise PictureError(f"{name}: has NaN or infinite values")
        if array.min() < -1e-6 or array.max() > 1 + 1e-6:
            raise PictureError(
                f"{name}: floats must lie in [0, 1], got {array.min():.4g} to {array.max():.4g}; undo any normalisation first"
            )
        return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)
    raise PictureError(f"{name}: expected uint8, uint16 or float pixels, got {array.dtype}")


def _frozen(pixels: np.ndarray) -> np.ndarray:
    pixels = (
        np.array(pixels, copy=True, order="C")
        if pixels.flags.writeable is False or pixels.base is not None
        else pixels
    )
    pixels.flags.writeable = False
    return pixels

"""Picture: decoded pixels, upright and RGB. The only place that decodes an image.

Whatever comes in (path, bytes, Pillow image, array, tensor) leaves as `[H W 3]` uint8 with a key.
What cannot be decoded whole is a `PictureError`: nothing is guessed, no half picture gets through.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from regiontok.core.png import announced_bytes, stream_bytes
from regiontok.core.sizes import shape_text
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from torch import Tensor

# Formats whose Pillow decoder stays inside Pillow: EPS, for one, would start Ghostscript on a
# stranger's file.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm .jp2 .j2k "
    ".tga".split()
)
MAX_BYTES = 512 * 2**20
# Where resizing the whole picture would give more than this many times the pixels of the cut, only
# the crop is resized.
MAX_ENLARGEMENT = 32
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
# EXIF orientation -> what stands the picture upright. Pillow's ImageOps.exif_transpose also
# rewrites the EXIF block, and a damaged block then loses a photo whose pixels are whole.
_TURNS = (
    "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()
)
UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}

# Everything that `Picture.of` takes.
ImageSource: TypeAlias = (
    "Picture | str | Path | bytes | bytearray | memoryview | Image.Image | np.ndarray | Tensor"
)


class PictureError(RegiontokError, ValueError):
    """An image that cannot be decoded whole; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """One decoded image.

    Attributes:
        pixels: `[H W 3]` uint8, upright (EXIF orientation applied), RGB, read-only.
        key: hash of the bytes it was read from, or of pixels and shape for arrays: the same bytes
            have the same key.
        name: what messages and tables call it.

    >>> Picture.of(np.zeros((4, 6, 3), np.uint8), name="black.png")
    Picture('black.png', 4 x 6 pixels)
    """

    pixels: np.ndarray
    key: str
    name: str = "image"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def __repr__(self) -> str:
        return f"Picture({self.name!r}, {shape_text(self.size)} pixels)"

    @classmethod
    def of(cls, source: ImageSource, name: str | None = None) -> Picture:
        """A picture from a path, bytes, a Pillow image, an array or a tensor.

        Alpha is laid over white; palettes, CMYK, 16-bit and 1-bit images become RGB; of an
        animation the first frame is taken.

        Args:
            source: the image. An array is `[H W]`, `[H W 1]`, `[H W 3]` or `[H W 4]`; a tensor is
                that, or `[1 H W]`, `[3 H W]` or `[4 H W]`. Integers are uint8, or uint16, which is
                divided by 257; floats lie in [0, 1].
            name: what messages and tables call it; by default the path, or the kind of source.

        Raises:
            PictureError: If the image is unreadable, truncated, empty or too large, or its values
                are out of range.
            TypeError: If the source is of another kind.
        """
        if isinstance(source, Picture):
            return source
        if isinstance(source, str | Path):
            path = Path(source)
            return _decode(_read_file(path), name or str(path))
        if isinstance(source, bytes | bytearray | memoryview):
            return _decode(bytes(source), name or "bytes")
        if isinstance(source, Image.Image):
            with _decoding(name or "image"):
                pixels = _rgb_of_image(source, name or "image")
        elif hasattr(source, "detach"):
            pixels = _rgb_of_array(_channels_last(source.detach().cpu()), name or "tensor")
        elif isinstance(source, np.ndarray):
            pixels = _rgb_of_array(source, name or "array")
        else:
            raise TypeError(
                "expected a path, bytes, a Pillow image, an array or a tensor; "
                f"got {type(source).__name__}"
            )
        digest = hashlib.sha256(f"pixels {pixels.shape}".encode() + pixels.tobytes())
        return cls(_read_only(pixels), digest.hexdigest()[:32], name or "image")

    @cached_property
    def pil(self) -> Image.Image:
        """The pixels as a Pillow image."""
        return Image.fromarray(self.pixels)

    def resized(
        self, size: tuple[int, int], crop: tuple[float, float, float, float], resample: str
    ) -> np.ndarray:
        """A crop of the picture, resized: `[h w 3]` uint8.

        If the crop is a cut, by whole pixels, of the whole picture resized to whole pixels, the
        whole picture is resized and then cut, as image processors do: Pillow orders its two passes
        by the sizes of input and output, and the other order rounds differently (by 1 level of 255,
        at single pixels by 17). A picture that would become more than `MAX_ENLARGEMENT` times the
        cut (20,000 x 10 pixels, say) is resized within the crop alone; the filter still reads
        beyond the crop where the picture goes on.

        Args:
            size: (h, w) of the result.
            crop: (y0, x0, y1, x1) in pixels; fractions are allowed.
            resample: name of the filter, one of `RESAMPLE`.
        """
        method = Image.Resampling(RESAMPLE[resample])
        (y0, x0, y1, x1), (h, w) = crop, size
        whole = (self.size[0] * h / (y1 - y0), self.size[1] * w / (x1 - x0))
        exact = (*whole, y0 * h / (y1 - y0), x0 * w / (x1 - x0))
        height, width, top, left = (round(value) for value in exact)
        by_whole_pixels = np.allclose(exact, (height, width, top, left), rtol=0, atol=1e-6)
        if by_whole_pixels and height * width <= MAX_ENLARGEMENT * h * w:
            resized = self.pil.resize((width, height), method)
            return np.array(resized.crop((left, top, left + w, top + h)))
        return np.array(self.pil.resize((w, h), method, box=(x0, y0, x1, y1)))


def key_of(data: bytes) -> str:
    """The key that a picture read from these bytes has, known before they are decoded.

    >>> key_of(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()[:32]


def _read_file(path: Path) -> bytes:
    try:
        if not path.exists():
            raise PictureError(f"{path}: no such file")
        if not path.is_file():
            raise PictureError(f"{path}: a folder or device, not an image file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PictureError(
                f"{path}: {size / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB "
                "an image may have"
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
        pixels = _rgb_of_image(image, name)
    return Picture(_read_only(pixels), key_of(data), name)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow's decoders raise into one PictureError, and keep their warnings in."""
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
            f"{name}: more than {limit:.0f} million pixels; if you trust the file, "
            "raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except Exception as error:
        # Decoders promise no list: 48,000 damaged files gave OSError, SyntaxError, ValueError,
        # EOFError, KeyError, struct.error (EXIF) and RuntimeError (AVIF); a header that lies about
        # the size ends in MemoryError.
        raise PictureError(
            f"{name}: damaged or truncated ({error or type(error).__name__})"
        ) from None


def _check_png(data: bytes, image: Image.Image, name: str) -> None:
    """Refuse a PNG whose pixels end early; only one whose last row is 0 needs to be counted."""
    last_row = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    if last_row.strip(b"\0") and not image.info.get("interlace"):
        return
    expected = announced_bytes(data)
    count = stream_bytes(data, expected)
    if count < expected:
        raise PictureError(
            f"{name}: damaged or truncated (its pixels end after {count} of {expected} bytes)"
        )


def _rgb_of_image(image: Image.Image, name: str) -> np.ndarray:
    if 0 in image.size:
        raise PictureError(f"{name}: has no pixels, its size is {image.width} x {image.height}")
    image.load()  # before the orientation is read: loading a damaged file raises here
    turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    image = image if turn is None else image.transpose(turn)
    if image.mode == "I":
        integers = np.asarray(image)
        if integers.min() < 0 or integers.max() > 65535:
            raise PictureError(
                f"{name}: integers from {integers.min()} to {integers.max()} are not 16-bit pixels"
            )
        return _rgb_of_array(integers.astype(np.uint16), name)
    if image.mode == "F" or image.mode.startswith("I;16"):
        return _rgb_of_array(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _channels_last(tensor: Tensor) -> np.ndarray:
    if tensor.is_floating_point():
        tensor = tensor.float()
    channels_first = tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4)
    array: np.ndarray = (tensor.permute(1, 2, 0) if channels_first else tensor).numpy()
    return array


def _rgb_of_array(array: np.ndarray, name: str) -> np.ndarray:
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
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # a TIFF's may be big-endian
        return np.round(array / 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise PictureError(f"{name}: has NaN or infinite values")
        if array.min() < -1e-6 or array.max() > 1 + 1e-6:
            raise PictureError(
                f"{name}: floats must lie in [0, 1], got {array.min():.4g} to {array.max():.4g}; "
                "undo any normalisation first"
            )
        inside: np.ndarray = np.clip(array, 0, 1)
        return np.round(inside * 255).astype(np.uint8)
    raise PictureError(f"{name}: expected uint8, uint16 or float pixels, got {array.dtype}")


def _read_only(pixels: np.ndarray) -> np.ndarray:
    if not pixels.flags.writeable or pixels.base is not None:
        pixels = np.array(pixels, copy=True, order="C")
    pixels.flags.writeable = False
    return pixels

"""Picture: decoded pixels, upright and RGB. The only place that decodes an image.

Whatever comes in (path, bytes, Pillow image, array, tensor) leaves as `[H W 3]` uint8 with a key.
What cannot be decoded whole is a `PictureError`: nothing is guessed, no half picture gets through.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
from PIL import Image

from regiontok.core.decoding import rgb_of_bytes, rgb_of_image
from regiontok.core.formats import FORMATS as FORMATS
from regiontok.core.formats import MAX_BYTES as MAX_BYTES
from regiontok.core.formats import SUFFIXES as SUFFIXES
from regiontok.core.formats import PictureError as PictureError
from regiontok.core.orientation import UPRIGHT as UPRIGHT
from regiontok.core.pixel_arrays import array_of_tensor, rgb_of_array
from regiontok.core.sizes import shape_text

if TYPE_CHECKING:
    from torch import Tensor

# Where resizing the whole picture would give more than this many times the pixels of the cut, only
# the crop is resized.
MAX_ENLARGEMENT = 32
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_LONGEST_PATH = 4096  # characters; a longer text is none, but a picture in base64, say


@runtime_checkable
class Readable(Protocol):
    """An open file, or what can be read as one."""

    def read(self, size: int = -1, /) -> Any:
        """The next bytes."""
        ...


@runtime_checkable
class Seekable(Protocol):
    """An open file that knows where it stands."""

    def seekable(self) -> bool: ...

    def tell(self) -> int: ...

    def seek(self, offset: int, /) -> Any: ...


@runtime_checkable
class Named(Protocol):
    """An open file that knows what it is called."""

    @property
    def name(self) -> Any: ...


# Everything that `Picture.of` takes.
ImageSource: TypeAlias = (
    "Picture | str | Path | bytes | bytearray | memoryview | Readable | Image.Image | np.ndarray "
    "| Tensor"
)


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
        """A picture from a path, bytes, an open file, a Pillow image, an array or a tensor.

        Alpha is laid over white; palettes, CMYK, 16-bit and 1-bit images become RGB; of an
        animation the first frame is taken.

        Args:
            source: the image. An open file is read from where it stands, and stands there again
                afterwards. An array is `[H W]`, `[H W 1]`, `[H W 3]` or `[H W 4]`; a tensor is
                that, or `[1 H W]`, `[3 H W]` or `[4 H W]`, which it is where both fit. Integers are
                uint8, or uint16, which is divided by 257; floats lie in [0, 1].
            name: what messages and tables call it; by default the path, the name of an open file,
                or "image".

        Raises:
            PictureError: If the image is unreadable, truncated, empty or too large, or its values
                are out of range.
            TypeError: If the source is of another kind.
        """
        if isinstance(source, Picture):
            return source
        data, default_name = _bytes_of(source)
        name = name or default_name
        if data is not None:
            return cls(_read_only(rgb_of_bytes(data, name)), key_of(data), name)
        if isinstance(source, Image.Image):
            pixels = rgb_of_image(source, name)
        elif _is_tensor(source):
            pixels = rgb_of_array(array_of_tensor(source), name)
        elif isinstance(source, np.ndarray):
            pixels = rgb_of_array(source, name)
        else:
            raise TypeError(
                "expected a path, bytes, a Pillow image, an array or a tensor; "
                f"got {type(source).__name__}"
            )
        digest = hashlib.sha256(f"pixels {pixels.shape}".encode() + pixels.tobytes())
        return cls(_read_only(pixels), digest.hexdigest()[:32], name)

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


def _bytes_of(source: ImageSource) -> tuple[bytes | None, str]:
    """The bytes of a source that is a file or the bytes of one, and what the source is called."""
    if isinstance(source, str | Path):
        return _read_file(source), str(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "image"
    if isinstance(source, Readable) and not (_is_tensor(source) or isinstance(source, np.ndarray)):
        return _read_open(source), _name_of(source)
    return None, "image"


def _read_file(source: str | Path) -> bytes:
    text = str(source)
    if len(text) > _LONGEST_PATH:
        raise PictureError(
            f"{text[:40]!r}...: cannot be read as a path, it has {len(text)} characters; a picture "
            "in base64 is given as its bytes, or as an address (data:image/png;base64,...)"
        )
    path = Path(source)
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


def _read_open(file: Readable) -> bytes:
    """What is left to be read of an open file, which stands afterwards where it stood before."""
    name = _name_of(file)
    try:
        start = file.tell() if isinstance(file, Seekable) and file.seekable() else None
        data = file.read(MAX_BYTES + 1)
        if isinstance(file, Seekable) and start is not None:
            file.seek(start)
    except (OSError, ValueError) as error:  # a closed file is a ValueError
        raise PictureError(f"{name}: cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise TypeError(f"{name} gives {type(data).__name__}, not bytes: open it with 'rb'")
    if len(data) > MAX_BYTES:
        raise PictureError(f"{name}: more than the {MAX_BYTES // 2**20} MiB an image may have")
    if not data and start:
        raise PictureError(f"{name}: it has been read to its end already: seek(0) first")
    return data


def _name_of(file: Readable) -> str:
    name = file.name if isinstance(file, Named) else None
    return name if isinstance(name, str) else "open file"


def _is_tensor(source: object) -> TypeGuard[Tensor]:
    """True for a tensor; without torch there is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def _read_only(pixels: np.ndarray) -> np.ndarray:
    if not pixels.flags.writeable or pixels.base is not None:
        pixels = np.array(pixels, copy=True, order="C")
    pixels.flags.writeable = False
    return pixels

"""The formats of pictures that are read, and the only call of Pillow's `Image.open`.

Pillow itself guesses among all formats it knows, and some of them start other programs: an EPS,
whatever its name says, would hand a stranger's file to Ghostscript. So every file is opened here,
with the formats named.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image, ImageFile

from regiontok.system.errors import RegiontokError
from regiontok.system.need import need

# Formats whose Pillow decoder stays inside Pillow.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .jif .png .apng .webp .avif .avifs .tif .tiff .bmp .dib .gif .ppm .pgm "
    ".pbm .pnm .pfm .jp2 .j2k .jpf .jpx .j2c .jpc .tga .heic .heif .hif .mpo".split()
)
# Pictures of other kinds: a walk does not read them, and counts them aloud.
OTHER_SUFFIXES = frozenset(
    ".svg .svgz .eps .ps .ai .pdf .psd .psb .xcf .jxl .jxr .wdp .hdr .exr .dds .ico .icns .cur "
    ".pcx .sgi .qoi .xbm .xpm .wmf .emf .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 "
    ".raf .pef .srw .x3f .raw .heics .heifs .djvu .fits .dcm".split()
)
HEIF = "HEIF"  # its decoder is a package of its own
MAX_BYTES = 512 * 2**20
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


class PictureError(RegiontokError, ValueError):
    """An image that cannot be decoded whole; the message names it and says what is wrong."""


def open_image(source: Path | bytes, formats: Sequence[str] = FORMATS) -> ImageFile.ImageFile:
    """Open a file, or the bytes of one, as one of some formats; pixels are decoded later.

    HEIC and HEIF go by their first bytes, and need the package pillow-heif.

    Args:
        source: the file, or its bytes.
        formats: names of the formats that are tried, as Pillow names them.

    Raises:
        MissingPackage: If it is a HEIC or HEIF and pillow-heif is not installed.
        Exception: Whatever Pillow's decoders raise; they promise no list.
    """
    if formats is FORMATS and is_heif(source):
        need("pillow_heif", extra="heic").register_heif_opener()
        formats = (HEIF,)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return Image.open(file, formats=tuple(formats))


def is_image_name(name: str) -> bool:
    """True if a file's name, or its path in a tar, is that of a picture that a walk reads.

    Hidden files are none, and what a Mac leaves beside pictures is none either: `._a.jpg`, and
    whatever lies in `__MACOSX`.

    >>> [is_image_name(name) for name in ("a/b.JPG", "a/._b.jpg", "__MACOSX/a/b.jpg", "a.txt")]
    [True, False, False, False]
    """
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in SUFFIXES and not hidden


def is_left_by_a_mac(name: str) -> bool:
    """True for what a Mac leaves beside pictures under a picture's name.

    >>> is_left_by_a_mac("a/._b.jpg"), is_left_by_a_mac("b.jpg")
    (True, False)
    """
    path = PurePosixPath(name)
    is_beside = path.name.startswith("._") or "__MACOSX" in path.parts
    return is_beside and path.suffix.lower() in SUFFIXES


def is_heif(source: Path | bytes) -> bool:
    """True if a file, or the bytes of one, begin as a HEIC or HEIF does, and not as an AVIF.

    >>> is_heif(b"\\0\\0\\0\\x18ftypheic"), is_heif(b"\\0\\0\\0\\x18ftypavif")
    (True, False)
    """
    if isinstance(source, bytes):
        head = source[:64]
    else:
        with source.open("rb") as file:
            head = file.read(64)
    if head[4:8] != b"ftyp":
        return False
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, len(head), 4))}
    return head[8:12] in _HEIF_BRANDS and not {b"avif", b"avis"} & brands

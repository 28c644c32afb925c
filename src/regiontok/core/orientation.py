"""How a photo stands, by the orientation that its EXIF or XMP says.

After: EXIF's tag 0x0112, and XMP's `tiff:Orientation`.
Differs: a damaged block says nothing. Pillow raises for one in a PNG or WebP, and its
`ImageOps.exif_transpose` also rewrites the block; either would lose a photo whose pixels are whole.
"""

from __future__ import annotations

import re

from PIL import ExifTags, Image

_TURNS = (
    "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()
)
# EXIF orientation -> what stands the picture upright.
UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}
_XMP = re.compile(rb'tiff:Orientation(?:\s*=\s*["\']|>)\s*([1-8])')


def orientation_of(image: Image.Image) -> int:
    """The orientation, 1 to 8, that an opened image says; 1 if it says none that can be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:
        # Pillow promises no list: SyntaxError, struct.error, KeyError, ValueError ... were met
        return 1
    return orientation if isinstance(orientation, int) and orientation in UPRIGHT else 1


def orientation_of_exif(block: bytes) -> int:
    """The orientation that an EXIF block says; 1 if it says none that can be read.

    >>> orientation_of_exif(b"no EXIF at all")
    1
    """
    image = Image.Image()
    image.info["exif"] = block
    return orientation_of(image)


def orientation_of_xmp(text: bytes) -> int:
    """The orientation that an XMP text says; 1 if it says none.

    >>> orientation_of_xmp(b'<rdf:Description tiff:Orientation="6"/>')
    6
    """
    match = _XMP.search(text)
    return int(match[1]) if match else 1

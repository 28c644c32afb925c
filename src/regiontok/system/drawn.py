"""The mark in every picture that this project draws, so that no walk takes one for an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

MARK = "drawn by regiontok"

_SOFTWARE = 0x0131  # the EXIF tag of the program that wrote a picture
# In PNG, JPEG and SVG the mark stands near the beginning, in WebP at the end.
_SEARCHED = 1024


def mark_options(picture_format: str) -> dict[str, Any]:
    """What `Image.save` takes to write the mark into a picture: PNG, JPEG or WEBP.

    >>> sorted(mark_options("JPEG"))
    ['comment']
    """
    if picture_format == "PNG":
        text = PngInfo()
        text.add_text("Software", MARK)
        return {"pnginfo": text}
    if picture_format == "JPEG":
        return {"comment": MARK}
    exif = Image.Exif()
    exif[_SOFTWARE] = MARK
    return {"exif": exif}


def is_drawn(path: Path) -> bool:
    """True if this project drew the picture in a file; False if the file cannot be read."""
    try:
        with path.open("rb") as file:
            ends = file.read(_SEARCHED)
            size = file.seek(0, 2)
            file.seek(max(0, size - _SEARCHED))
            ends += file.read()
    except OSError:
        return False
    return MARK.encode() in ends


def check_drawing_place(path: Path) -> None:
    """Refuse to replace a file that this project did not draw: a photo, say.

    Raises:
        ValueError: If there is such a file.
    """
    if path.is_file() and not is_drawn(path):
        raise ValueError(
            f"{path} is there and was not drawn by regiontok (or by an older release): move it "
            "away, or choose another --out"
        )

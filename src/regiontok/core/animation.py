"""Animated GIF and WebP: their frames, laid over white, and how long each is on screen, by Pillow.

A decoder of videos would do, but takes a GIF that is cut off for a shorter one. Here the file's own
structure must reach its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from PIL import Image

from regiontok.core.picture import MAX_BYTES, Picture

FORMATS = ("GIF", "WEBP")
SUFFIXES = frozenset((".gif", ".webp"))
SHORTEST = 0.02  # seconds; what asks for less is shown for LONG, as browsers and FFmpeg do
LONG = 0.1


def animated(path: Path) -> bool:
    """Whether a file is a GIF or WebP of more than one frame; what cannot be read is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's decoders promise no list (see picture.py); whoever decodes the file says what is wrong with it
        return False


def is_animation_format(path: Path) -> bool:
    """Whether a file begins as a GIF or WebP does."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:6] in (b"GIF87a", b"GIF89a") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


class Animation:
    """The whole frames of a GIF or WebP file, read once; `damage` is set when it ends before it
    should.

    Raises:
        ValueError: the file is too large, or is not even begun well.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"an animation may have {MAX_BYTES // 2**20} MiB; write it as a video")
        self.damage = "" if _reaches_its_end(path.read_bytes()) else "its data end early"
        try:
            self.image = Image.open(path, formats=FORMATS)
        except Exception as error:  # see above
            raise ValueError(
                f"no GIF or WebP that can be read, or one cut off at its head ({error})"
            ) from None
        self.size = self.image.height, self.image.width

    def shown(self, name: str) -> Iterator[tuple[float, float, Picture]]:
        """(start, end, frame) in seconds after the first one, up to the first sign of damage."""
        now = 0.0
        with self.image:
            for at in count():
                try:
                    self.image.seek(at)
                    self.image.load()
                except EOFError:
                    return
                except Exception as error:  # see above
                    self.damage = str(error) or type(error).__name__
                    return
                asked = self.image.info.get("duration", 0) / 1000
                end = now + (asked if asked >= SHORTEST else LONG)
                yield now, end, Picture.of(self.image, f"{name} at {now:.2f} s")
                now = end


def _reaches_its_end(data: bytes) -> bool:
    if data[:4] == b"RIFF":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    try:
        at = 13 + _colours(data[10])
        while (kind := data[at]) != 0x3B:  # the trailer
            if kind not in (0x21, 0x2C):  # an extension, an image
                return False
            at += 2 if kind == 0x21 else 11 + _colours(data[at + 9])
            while length := data[at]:
                at += 1 + length
            at += 1
    except IndexError:
        return False
    return True


def _colours(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 * 2 ** (1 + flags % 8) if flags & 0x80 else 0

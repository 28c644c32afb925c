"""Animated GIF and WebP: their frames, laid over white, and how long each is on screen, by Pillow.

A decoder of videos would do, but it takes a GIF that is cut off for a shorter one. Here the file's
own structure must reach its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from regiontok.core.decoding import STRICTNESS
from regiontok.core.formats import MAX_BYTES, open_image
from regiontok.core.sampling import TimedFrame

FORMATS = ("GIF", "WEBP")
SUFFIXES = frozenset((".gif", ".webp"))
# Seconds: a frame that asks for less than the shortest time is shown for the default time, as
# browsers and FFmpeg do.
SHORTEST = 0.02
DEFAULT = 0.1

_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C  # the kinds of blocks of a GIF


def is_animated(path: Path) -> bool:
    """True if a file is a GIF or WebP of more than one frame; an unreadable file is not."""
    try:
        with open_image(path, FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:
        # Pillow's decoders promise no list of errors (see picture.py); whoever decodes the file
        # says what is wrong with it.
        return False


def is_animation_format(path: Path) -> bool:
    """True if a file begins as a GIF or WebP does."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:6] in (b"GIF87a", b"GIF89a") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


class Animation:
    """The whole frames of a GIF or WebP file, read once, in order.

    Attributes:
        damage: why the frames end early; "" if they do not, as far as has been read.
        size: (H, W) in pixels.

    Raises:
        ValueError: If the file is too large, or its head cannot be read.
    """

    kind = "animation"

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"an animation may have {MAX_BYTES // 2**20} MiB; write it as a video")
        self.damage = "" if _reaches_its_end(path.read_bytes()) else "its data end early"
        try:
            self._image = open_image(path, FORMATS)
        except Exception as error:  # see `is_animated`
            raise ValueError(
                f"no GIF or WebP that can be read, or one cut off at its head ({error})"
            ) from None
        self.size = self._image.height, self._image.width
        self._frames, self._seconds = 0, 0.0

    @property
    def rate(self) -> float:
        """Frames a second, on average over the frames that have been read."""
        return self._frames / self._seconds

    def timed_frames(self) -> Iterator[TimedFrame]:
        """The frames, up to the first sign of damage."""
        for index in count():
            try:
                with STRICTNESS.held():
                    self._image.seek(index)
                    self._image.load()
            except EOFError:
                return
            except Exception as error:  # see `is_animated`
                self.damage = str(error) or type(error).__name__
                return
            wanted = self._image.info.get("duration", 0) / 1000
            start = self._seconds
            self._frames += 1
            self._seconds += wanted if wanted >= SHORTEST else DEFAULT
            yield TimedFrame(start, self._seconds, self.size, lambda: self._image)

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def _reaches_its_end(data: bytes) -> bool:
    """True if the blocks of a GIF lead to its trailer, or a WebP is as long as it says."""
    if data[:4] == b"RIFF":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    try:
        position = 13 + _colour_table_bytes(data[10])
        while (kind := data[position]) != _TRAILER:
            if kind == _EXTENSION:
                position += 2
            elif kind == _IMAGE:
                position += 11 + _colour_table_bytes(data[position + 9])
            else:
                return False
            while length := data[position]:
                position += 1 + length
            position += 1
    except IndexError:
        return False
    return True


def _colour_table_bytes(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 * 2 ** (1 + flags % 8) if flags & 0x80 else 0

"""Whether the compressed data of a still WebP are whole, as far as its decoder can say.

A WebP has no checksums, and its decoder takes any bits: where a disk or a download left zeros, they
stand for pixels. Encoders write no byte that the decoder does not need, so a file whose last zeros
can be left out has lost what stood there. Zeros that are needed may be a flat area; zeros in the
middle of the data cannot be known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from regiontok.system.errors import RegiontokError

# Zeros at the end that are tried: whole files have a handful, or an area that is flat.
FEWEST_ZEROS = 48
_LEFT_OUT = 24  # bytes; encoders pad with two, and decoders read eight ahead
_CODED = (b"VP8 ", b"VP8L")


class DamagedWebp(RegiontokError, ValueError):
    """A WebP whose compressed data are not whole; the message says what is wrong."""


def check_webp(data: bytes, decode: Callable[[bytes], object]) -> None:
    """Raise if the data of a still WebP end in zeros that its decoder does not need.

    Args:
        data: the file; an animation is not looked at.
        decode: decodes a file, and raises if it cannot.

    Raises:
        DamagedWebp: If they do.
    """
    shortened = _without_last_zeros(data)
    if shortened is None:
        return
    try:
        decode(shortened)
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders promise no list: the zeros were needed
        return
    raise DamagedWebp("its compressed data end in zeros that no pixel needs")


def _without_last_zeros(data: bytes) -> bytes | None:
    """A still WebP without its last zeros; None if it ends in few, or is no such file.

    >>> _without_last_zeros(b"RIFF") is None
    True
    """
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        begin = position + 8
        end = min(begin + length, len(data))
        if kind in _CODED:
            body = data[begin:end]
            zeros = len(body) - len(body.rstrip(b"\0"))
            if zeros < FEWEST_ZEROS:
                return None
            body = body[:-_LEFT_OUT]
            padding = b"\0" * (len(body) % 2)
            chunks = data[:position][12:] + struct.pack("<4sI", kind, len(body)) + body + padding
            return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
        position = begin + length + length % 2
    return None

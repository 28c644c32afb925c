"""What of a PNG its pixels need, whether that is whole, and how the picture stands.

Pillow checks no checksum of pixels, takes a PNG whose stream ends early for a whole one (the rows
that did not come stay 0), and refuses a whole one for what stands beside its pixels: a long text, a
colour profile, a chunk that is too short. So it gets the chunks that pixels need, and no others.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from regiontok.core.orientation import orientation_of_exif, orientation_of_xmp
from regiontok.system.errors import RegiontokError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey + A, RGB + A
# The passes of Adam7 interlacing: first column, first row, every so many columns, so many rows.
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# What pixels are made of; all else stands beside them.
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_NEEDED_NAME = re.compile(b"|".join(_NEEDED))
_MOST_TEXT = 16 * 2**20  # bytes of a text that are unpacked to find how the picture stands


class DamagedPng(RegiontokError, ValueError):
    """A PNG whose pixels are not what was written; the message says which chunk is wrong."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG: four letters, its body, and whether its checksum is right."""

    kind: bytes
    body: bytes
    sound: bool

    @property
    def encoded(self) -> bytes:
        """The chunk as it lies in a file."""
        checksum = zlib.crc32(self.kind + self.body)
        return struct.pack(">I", len(self.body)) + self.kind + self.body + checksum.to_bytes(4)


def chunks_of(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG, up to IEND or to where the file ends.

    Behind a chunk whose length is wrong, the next one that pixels need goes on.
    """
    position = trusted = len(SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not kind.isalpha() or end > len(data):
            position = _next_needed(data, trusted + 8)
            if position == len(data):
                return
            trusted = position
            continue
        body = data[position + 8 : end - 4]
        sound = zlib.crc32(kind + body) == int.from_bytes(data[end - 4 : end])
        yield Chunk(kind, body, sound)
        if kind == b"IEND":
            return
        trusted, position = position, end


def _next_needed(data: bytes, start: int) -> int:
    """Where the next chunk begins that pixels need and whose checksum is right."""
    for match in _NEEDED_NAME.finditer(data, start):
        begin = match.start() - 4
        (length,) = struct.unpack_from(">I", data, begin)
        end = begin + 12 + length
        stated = int.from_bytes(data[end - 4 : end])
        if end <= len(data) and zlib.crc32(data[begin + 4 : end - 4]) == stated:
            return begin
    return len(data)


def whole_pixels(data: bytes) -> tuple[bytes, int]:
    """A PNG with the chunks that its pixels need and no others, and its EXIF orientation.

    Raises:
        DamagedPng: If the checksum of one of these chunks is wrong.
    """
    encoded_chunks, orientation, ended = [SIGNATURE], 1, False
    for chunk in chunks_of(data):
        if chunk.kind in _NEEDED or not chunk.kind[0] & 0x20:  # a capital: pixels need it
            if not chunk.sound:
                name = chunk.kind.decode("ascii", "replace")
                raise DamagedPng(f"the checksum of its chunk {name} is wrong")
            encoded_chunks.append(chunk.encoded)
            ended = chunk.kind == b"IEND"
        elif chunk.sound and orientation == 1:
            orientation = _orientation(chunk)
    if not ended:
        encoded_chunks.append(Chunk(b"IEND", b"", True).encoded)
    return b"".join(encoded_chunks), orientation


def _orientation(chunk: Chunk) -> int:
    """The EXIF orientation that a chunk beside the pixels says; 1 if it says none."""
    if chunk.kind == b"eXIf":
        return orientation_of_exif(chunk.body)
    try:
        keyword, _, value = chunk.body.partition(b"\0")
        if chunk.kind == b"iTXt" and keyword == b"XML:com.adobe.xmp":
            packed, (_, _, text) = value[0], value[2:].split(b"\0", 2)
            return orientation_of_xmp(_unpacked(text) if packed else text)
        if keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
            text = _unpacked(value[1:]) if chunk.kind == b"zTXt" else value
            # a name, a length, and hexadecimal digits in lines
            digits = b"".join(text.split(b"\n")[3:])
            return orientation_of_exif(bytes.fromhex(digits.decode("ascii")))
    except (IndexError, ValueError, zlib.error):
        pass  # a damaged text says nothing
    return 1


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _MOST_TEXT)


def announced_bytes(data: bytes) -> int:
    """Bytes of the uncompressed rows that a PNG's header announces, filter bytes counted."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * CHANNELS[colour]
    total = 0
    for left, top, column_step, row_step in ADAM7 if interlace else ((0, 0, 1, 1),):
        columns = len(range(left, width, column_step))
        rows = len(range(top, height, row_step))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def stream_bytes(data: bytes, most: int) -> int:
    """Bytes that a PNG's compressed stream gives, counted up to `most`."""
    count, stream = 0, zlib.decompressobj()
    for chunk in chunks_of(data):
        if count >= most:
            break
        if chunk.kind == b"IDAT":
            unread = chunk.body
            while unread and count < most:
                count += len(stream.decompress(unread, min(most - count, _MOST_TEXT)))
                unread = stream.unconsumed_tail
    return count

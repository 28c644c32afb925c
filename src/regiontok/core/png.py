"""How many bytes of pixels a PNG announces, and how many its compressed stream really gives.

Pillow takes a PNG whose stream ends early for a whole one: the rows that did not come stay 0.
"""

from __future__ import annotations

import struct
import zlib

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
    count, position, stream = 0, 8, zlib.decompressobj()
    while count < most and position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            body = data[position + 8 : position + 8 + length]
            count += len(stream.decompress(body, most - count))
        position += 12 + length
    return count

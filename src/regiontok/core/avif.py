"""Whether the compressed data of an AVIF are whole, as far as its bytes can say.

An AVIF has no checksums. Its arithmetic coder adapts, so that even flat pictures give no long run
of zeros (4 bytes at most, in the pictures that were tried), and its data end in a bit that is 1.
Where a disk or a download left zeros, there is such a run.
"""

from __future__ import annotations

import struct

from regiontok.system.errors import RegiontokError

LONGEST_ZEROS = 512  # what a disk loses at least
LONGEST_AT_END = 64


class DamagedAvif(RegiontokError, ValueError):
    """An AVIF whose compressed data are not whole; the message says where."""


def check_avif(data: bytes) -> None:
    """Raise if the data of an AVIF hold a run of zeros that no picture gives.

    Raises:
        DamagedAvif: If they do.
    """
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        begin, end = position + 8, position + length
        if length == 1:
            begin, end = begin + 8, position + int.from_bytes(data[begin : begin + 8])
        end = len(data) if length == 0 else min(end, len(data))
        if end < begin:
            return  # no box that can be: the decoder says what is wrong
        if kind == b"mdat":
            zeros = data.find(bytes(LONGEST_ZEROS), begin, end)
            if zeros < 0 and end - begin > LONGEST_AT_END:
                last = data[end - LONGEST_AT_END : end]
                zeros = -1 if any(last) else end - LONGEST_AT_END
            if zeros >= 0:
                raise DamagedAvif(f"a long run of zeros, from byte {zeros}, in its compressed data")
        position = end

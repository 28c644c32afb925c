"""The check that compressed COCO run-length codes fit their image.

It is made before pycocotools reads them, which writes beyond its memory on a forged code. The codes
of one image go through a compiled loop together, at 2 ns a character; what the loop does not accept
is left to `PixelMasks.from_coco`, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.system.compiled import compiled

LONGEST = 35  # bits of a run length, 5 a character: more than any image has pixels


def check_codes(codes: Sequence[bytes], size: tuple[int, int]) -> None:
    """Raise ValueError unless every code describes the pixels of an image of `size` = (H, W).

    >>> check_codes(PixelMasks.from_labels(np.array([[0, 0, 1], [0, 2, 1]])).counts, (2, 3))
    """
    characters = np.frombuffer(b"".join(codes), np.uint8)
    ends = np.cumsum([len(code) for code in codes], dtype=np.int64)
    accepted = _accepted(characters, ends, size[0] * size[1])
    PixelMasks.from_coco([{"counts": code} for code in codes[accepted:]], size)


@compiled()
def _accepted(characters, ends, pixels):
    """How many codes are sound before the first that is not.

    A run length is written in characters of 5 bits, the lowest first; bit 5 says that more follow,
    the sign is bit 4 of the last. From the fourth run on it is less the run before the last.
    """
    index = np.int64(0)
    for code in range(len(ends)):
        total, count = np.int64(0), np.int64(0)
        previous, last = np.int64(0), np.int64(0)
        while index < ends[code]:
            run, bits = np.int64(0), np.int64(0)
            while True:
                if index == ends[code] or bits == LONGEST:
                    return code
                digit = np.int64(characters[index]) - 48
                if digit < 0 or digit > 63:
                    return code
                run |= (digit & 31) << bits
                bits += 5
                index += 1
                if digit < 32:
                    break
            if digit & 16:
                run -= np.int64(1) << bits
            if count > 2:
                run += previous
            if run < 0:
                return code
            previous, last = last, run
            total += run
            count += 1
        if total != pixels:
            return code
    return len(ends)

"""The header of a .npy file, read without trust: its text may make numpy raise anything."""

from __future__ import annotations

import zipfile
import zlib
from typing import IO

import numpy as np

from regiontok.system.errors import RegiontokError

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class BadHeader(RegiontokError, ValueError):
    """A header that announces no array; the message says why."""


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array that a file holds.

    The file stands behind the header afterwards.

    Raises:
        BadHeader: If the header is damaged, of another version, or announces no array.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            numbers = ".".join(map(str, version))
            raise BadHeader(f"the array format is {numbers}, expected 1.0 or 2.0")
        shape, fortran, dtype = _READERS[version](file)
    except (BadHeader, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:
        # numpy promises no list: ValueError, SyntaxError, IndentationError, TokenError, KeyError,
        # TypeError, EOFError, RecursionError and MemoryError were met
        kind = type(error).__name__
        raise BadHeader(f"no array that can be read ({kind}: its header is damaged)") from None
    if any(type(length) is not int or length < 0 for length in shape):
        raise BadHeader(f"no array that can be read (its shape is {list(shape)})")
    return shape, fortran, dtype

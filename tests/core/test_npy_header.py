"""Headers of strangers' arrays are read, or refused with one kind of error."""

from __future__ import annotations

import io

import numpy as np
import pytest

from regiontok.core.npy_header import BadHeader, read_header


def with_header(text: bytes, version: bytes = b"\1\0") -> io.BytesIO:
    padded = text.ljust(117) + b"\n"
    return io.BytesIO(b"\x93NUMPY" + version + len(padded).to_bytes(2, "little") + padded)


def test_a_header_is_read_up_to_the_values():
    file = io.BytesIO()
    np.save(file, np.ones((2, 3), np.float32).T)
    file.seek(0)
    assert read_header(file) == ((3, 2), True, np.dtype(np.float32))
    assert len(file.read()) == 24


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (4, 6), ",
        b"  {'descr': '|b1'\n    'x'",
        b"((((((((((((((",
        b"{'descr': 'what', 'fortran_order': False, 'shape': (4,)}",
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (-4, 6)}",
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (True, 6)}",
        b"{'descr': '|b1', 'fortran_order': False, 'shape': 4L}",
        b"\0\xff",
        b"{}",
    ],
)
def test_a_damaged_header_is_one_error(text):
    with pytest.raises(BadHeader, match=r"no array that can be read \("):
        read_header(with_header(text))


def test_no_array_and_another_version():
    for data in (b"", b"\x93NUMP", b"\x93NUMPY\1\0\x99\x99"):
        with pytest.raises(BadHeader):
            read_header(io.BytesIO(data))
    with pytest.raises(BadHeader, match=r"the array format is 9\.0, expected 1\.0 or 2\.0"):
        read_header(with_header(b"{}", b"\x09\0"))

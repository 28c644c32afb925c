"""Bytes of pixels in a PNG, counted by hand and in files of every kind that Pillow writes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from regiontok.core.png import announced_bytes, stream_bytes


def png(mode: str, size: tuple[int, int], **options) -> bytes:
    """A PNG of `size` = (width, height)."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "row_bytes"), [("1", 2), ("L", 13), ("P", 13), ("LA", 26), ("RGB", 39), ("RGBA", 52)]
)
def test_a_row_has_its_pixels_and_a_filter_byte(mode, row_bytes):
    data = png(mode, (13, 7))
    assert announced_bytes(data) == 7 * (1 + row_bytes)
    assert stream_bytes(data, most=10**6) == announced_bytes(data)


def test_the_count_stops_at_the_most_that_is_asked_for():
    assert stream_bytes(png("RGB", (13, 7)), most=100) == 100


def test_a_cut_stream_gives_less_than_is_announced():
    data = png("RGB", (60, 40))
    for end in range(60, len(data) - 20, 97):
        assert stream_bytes(data[:end], most=10**6) < announced_bytes(data)


def test_interlaced_passes_hold_every_pixel_once():
    data = bytearray(png("RGB", (13, 7)))
    data[28] = 1  # the interlace method in the header
    filter_bytes = 1 + 1 + 1 + 2 + 2 + 4 + 3  # a row of each pass has one
    assert announced_bytes(bytes(data)) == 3 * 13 * 7 + filter_bytes

"""Bytes of pixels in a PNG, counted by hand and in files of every kind that Pillow writes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import Picture, PictureError
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


# --- what stands beside the pixels, and what does not


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


PLAIN = png("RGB", (30, 20))
TEXT = b"workflow " * 150_000  # 1.3 MB


@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"zTXt", b"note\0\0" + zlib.compress(TEXT)),
        chunk(b"tEXt", b"note\0" + TEXT),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(TEXT)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(TEXT)),
        chunk(b"tEXt", b"a\0b", crc=1),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"eXIf", b"garbage!"),
        chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        struct.pack(">I", 2**31) + b"tEXt" + b"a length beyond the file",
        struct.pack(">I", 7) + b"tEXt" + b"a length that is too small",
    ],
    ids=lambda beside: beside[4:8].decode(),
)
def test_whole_pixels_are_taken_whatever_stands_beside_them(beside):
    assert np.array_equal(
        Picture.of(PLAIN[:33] + beside + PLAIN[33:]).pixels, Picture.of(PLAIN).pixels
    )
    assert np.array_equal(
        Picture.of(PLAIN[:-12] + beside + PLAIN[-12:]).pixels, Picture.of(PLAIN).pixels
    )


@pytest.mark.parametrize(
    "turned",
    [
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        chunk(
            b"iTXt",
            b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'tiff:Orientation="6"' + TEXT),
        ),
    ],
)
def test_the_orientation_is_found_beside_what_is_damaged(turned):
    bad = chunk(b"eXIf", b"garbage!") + chunk(b"zTXt", b"note\0\0" + zlib.compress(TEXT))
    assert Picture.of(PLAIN[:33] + bad + turned + PLAIN[33:]).size == (30, 20)


def test_damage_of_the_pixels_is_damage():
    palette = png("P", (30, 20))
    for data in (PLAIN, palette):
        for position in range(16, len(data) - 12, 41):
            changed = bytearray(data)
            changed[position] ^= 0x40
            if bytes(changed) != data:
                with pytest.raises(PictureError):
                    Picture.of(bytes(changed))
    zeroed = PLAIN[: len(PLAIN) // 2] + bytes(len(PLAIN) - len(PLAIN) // 2)
    with pytest.raises(PictureError, match=r"checksum of its chunk IDAT|truncated"):
        Picture.of(zeroed)
    wrong = PLAIN.replace(b"IDAT", b"IDAT", 1)[:-16] + bytes(4) + PLAIN[-12:]
    with pytest.raises(PictureError, match="the checksum of its chunk IDAT is wrong"):
        Picture.of(wrong)


def test_pixels_are_whole_without_the_last_chunk():
    assert np.array_equal(Picture.of(PLAIN[:-12]).pixels, Picture.of(PLAIN).pixels)

"""Every kind of file and array becomes upright RGB of 8 bits, or one clear PictureError."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from regiontok.core import picture as module
from regiontok.core.picture import Picture, PictureError
from regiontok.tokenizer.images import decode_images

rng = np.random.default_rng(0)
NOISE = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)
SMOOTH = np.stack(
    [
        np.arange(24)[:, None] * 10 + 0 * np.arange(32),
        np.arange(32) * 8 + 0 * np.arange(24)[:, None],
    ],
    -1,
)
SMOOTH = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], -1).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def png(
    size: tuple[int, int], stream: bytes, depth: int = 8, colour: int = 2, interlace: int = 0
) -> bytes:
    """A PNG made by hand, so that it may lie."""
    height, width = size

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(stream))
        + chunk(b"IEND", b"")
    )


# --- what is read, and as what


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF", "TGA"])
def test_lossless_formats_keep_every_pixel(form):
    assert np.array_equal(Picture.of(encoded(NOISE, form)).pixels, NOISE)


@pytest.mark.parametrize(
    ("form", "options"),
    [("WEBP", {"lossless": True}), ("JPEG2000", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_lossless_settings_keep_every_pixel(form, options):
    assert np.array_equal(Picture.of(encoded(NOISE, form, **options)).pixels, NOISE)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"progressive": True}),
        ("AVIF", {"quality": 95}),
        ("WEBP", {}),
    ],
)
def test_lossy_formats_stay_close(form, options):
    pixels = Picture.of(encoded(SMOOTH, form, **options)).pixels
    assert pixels.shape == SMOOTH.shape
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 6


def test_two_pictures_in_one_jpeg_give_the_first():
    joined = encoded(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))])
    assert np.abs(Picture.of(joined).pixels.astype(int) - SMOOTH).mean() < 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(form):
    first, second = Image.new("RGB", (6, 4), (255, 0, 0)), Image.new("RGB", (6, 4), (0, 0, 255))
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(first, form, save_all=True, append_images=[second], **options)
    assert (Picture.of(data).pixels == [255, 0, 0]).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_cut(form):
    grey = np.array([[0, 257, 128 * 257], [65535, 65535, 300]], np.uint16)
    expected = [[0, 1, 128], [255, 255, 1]]
    pixels = Picture.of(encoded(Image.fromarray(grey), form)).pixels
    assert pixels[..., 0].tolist() == expected
    assert (pixels == pixels[..., :1]).all()


def test_sixteen_bit_grey_of_the_other_byte_order():
    grey = np.array([[0, 257], [65535, 128 * 257]], ">u2")
    image = Image.frombytes("I;16B", (2, 2), grey.tobytes())
    assert Picture.of(encoded(image, "TIFF")).pixels[..., 0].tolist() == [[0, 1], [255, 128]]
    assert Picture.of(grey).pixels[..., 0].tolist() == [[0, 1], [255, 128]]


def test_sixteen_bit_colour_png():
    row = b"\0" + struct.pack(">6H", 0, 128 * 257, 65535, 257, 2 * 257, 3 * 257)
    assert Picture.of(png((1, 2), row, depth=16)).pixels.tolist() == [[[0, 128, 255], [1, 2, 3]]]


def test_integers_beyond_sixteen_bits_are_refused():
    with pytest.raises(PictureError, match="integers from 0 to 70000 are not 16-bit pixels"):
        Picture.of(Image.fromarray(np.array([[0, 70000]], np.int32)))
    assert Picture.of(Image.fromarray(np.array([[0, 65535]], np.int32))).pixels[
        0, :, 0
    ].tolist() == [0, 255]


def test_floating_point_images():
    assert Picture.of(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))).pixels[
        0, :, 0
    ].tolist() == [0, 128, 255]
    with pytest.raises(PictureError, match="undo any normalisation"):
        Picture.of(encoded(Image.fromarray(np.array([[0.0, 200.0]], np.float32)), "TIFF"))


def test_cmyk_jpeg():
    cmyk = Image.fromarray(np.broadcast_to(np.array([0, 255, 255, 0], np.uint8), (8, 8, 4)), "CMYK")
    red = Picture.of(encoded(cmyk, "JPEG", quality=95)).pixels
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 6


def test_palette():
    colours = Image.new("P", (2, 1))
    colours.putpalette([10, 20, 30, 200, 100, 50])
    colours.putpixel((1, 0), 1)
    assert Picture.of(encoded(colours, "PNG")).pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert Picture.of(encoded(colours, "PNG", transparency=1)).pixels.tolist() == [
        [[10, 20, 30], [255, 255, 255]]
    ]
    assert Picture.of(encoded(colours, "GIF", transparency=0)).pixels.tolist() == [
        [[255, 255, 255], [200, 100, 50]]
    ]
    half = Picture.of(encoded(colours, "PNG", transparency=bytes([255, 128])))
    assert half.pixels[0, 1].tolist() == [227, 177, 152]  # 128/255 of the colour, the rest white


def test_alpha_lies_over_white():
    rgba = np.array([[[200, 0, 100, 255], [200, 0, 100, 0], [200, 0, 100, 51]]], np.uint8)
    expected = [[200, 0, 100], [255, 255, 255], [244, 204, 224]]  # 51/255 = 0.2
    assert Picture.of(encoded(rgba, "PNG")).pixels[0].tolist() == expected
    assert Picture.of(rgba).pixels[0].tolist() == expected
    assert Picture.of(torch.from_numpy(rgba).permute(2, 0, 1)).pixels[0].tolist() == expected
    grey = Image.merge("LA", (Image.new("L", (1, 1), 100), Image.new("L", (1, 1), 51)))
    assert Picture.of(encoded(grey, "PNG")).pixels.tolist() == [[[224, 224, 224]]]
    keyed = encoded(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8), "PNG", transparency=(1, 2, 3))
    assert Picture.of(keyed).pixels.tolist() == [[[255, 255, 255], [9, 9, 9]]]


def test_one_bit_and_grey():
    assert Picture.of(
        encoded(Image.fromarray(np.array([[True, False]])), "PNG")
    ).pixels.tolist() == [[[255] * 3, [0] * 3]]
    assert Picture.of(encoded(np.array([[7, 250]], np.uint8), "PNG")).pixels.tolist() == [
        [[7] * 3, [250] * 3]
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(orientation):
    # stored pixel (row, column) of what should be seen at (y, x), from the EXIF standard: where row
    # 0 and column 0 lie in the scene
    scene = NOISE
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.swapaxes(0, 1),
        6: scene.swapaxes(0, 1)[::-1],  # row 0 is the right side, column 0 the top
        7: scene[::-1, ::-1].swapaxes(0, 1),
        8: scene.swapaxes(0, 1)[:, ::-1],  # row 0 is the left side, column 0 the bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = encoded(np.ascontiguousarray(stored), form, exif=exif, **options)
        assert np.array_equal(Picture.of(data).pixels, scene), form
        assert np.array_equal(Picture.of(Image.open(io.BytesIO(data))).pixels, scene), form


def test_damaged_exif_does_not_lose_a_whole_photo():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    good = encoded(SMOOTH, "JPEG", exif=exif)
    # A width that is a text: Pillow can read, but not write it.
    bad = good.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")
    assert bad != good
    with pytest.raises((struct.error, TypeError)):
        ImageOps.exif_transpose(Image.open(io.BytesIO(bad)))
    assert np.array_equal(Picture.of(bad).pixels, Picture.of(good).pixels)
    assert Picture.of(bad).size == (32, 24)


def test_extreme_sizes(tmp_path):
    assert Picture.of(encoded(np.full((1, 1, 3), 7, np.uint8), "PNG")).size == (1, 1)
    long = np.zeros((20_000, 10, 3), np.uint8)
    long[-1] = 200
    file = tmp_path / "long.png"
    file.write_bytes(encoded(long, "PNG"))
    picture = Picture.of(file)
    assert picture.size == (20_000, 10)
    assert picture.pixels[-1, -1].tolist() == [200] * 3
    assert picture.name == str(file)


def test_a_picture_passes_through():
    picture = Picture.of(NOISE)
    assert Picture.of(picture) is picture
    assert picture.pil.size == (14, 9)
    assert np.array_equal(np.asarray(picture.pil), NOISE)


# --- what is refused


def test_files_that_are_no_picture(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    text = tmp_path / "text.png"
    text.write_text("not a picture, whatever the name says\n" * 20)
    for path, message in [
        (empty, r"empty\.jpg: empty \(0 bytes\)"),
        (text, r"text\.png: not an image of a known format"),
        (tmp_path / "absent.png", "absent.png: no such file"),
        (tmp_path, "a folder or device"),
        ("x" * 5000, "cannot be read"),
        ("no\0pe", "no such file"),
    ]:
        with pytest.raises(PictureError, match=message):
            Picture.of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PictureError, match="a folder or device"):
        Picture.of(tmp_path / "pipe")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(NOISE, "PNG"))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match=r"secret\.png: cannot be read \(Permission denied\)"):
        Picture.of(file)


def test_files_beyond_the_limit_are_not_even_read(tmp_path, monkeypatch):
    file = tmp_path / "big.png"
    file.write_bytes(b"x" * 3 * 2**20)
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    with pytest.raises(PictureError, match="3 MiB is more than the 1 MiB"):
        Picture.of(file)


@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000"]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_truncated_files(form, share):
    data = encoded(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8), form)
    with pytest.raises(PictureError):
        Picture.of(data[: max(4, int(len(data) * share))])


def test_a_lazily_opened_truncated_picture():
    image = Image.open(io.BytesIO(encoded(SMOOTH, "JPEG")[:700]))
    with pytest.raises(PictureError, match="image: damaged or truncated"):
        Picture.of(image)


def test_bombs():
    bomb = png((50_000, 50_000), b"\0" * 1000)
    assert len(bomb) < 200
    with pytest.raises(
        PictureError,
        match=r"more than 89 million pixels; if you trust the file, "
        r"raise PIL\.Image\.MAX_IMAGE_PIXELS",
    ):
        Picture.of(bomb, name="bomb")
    # Beyond the limit by less than twice, where Pillow only warns.
    with pytest.raises(PictureError, match="more than 89 million pixels"):
        Picture.of(png((10_000, 10_000), b"\0"))


def test_the_limit_is_the_users(monkeypatch):
    data = encoded(NOISE, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PictureError, match="more than 0 million"):
        Picture.of(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Picture.of(data).size == (9, 14)


def test_a_png_whose_pixels_end_early():
    # Pillow itself gives a picture with black rows here
    rows = [b"\0" + bytes([200] * 30) for _ in range(10)]
    assert (Picture.of(png((10, 10), b"".join(rows))).pixels == 200).all()
    for count in (0, 1, 5, 9):
        with pytest.raises(PictureError, match=r"end after|truncated"):
            Picture.of(png((10, 10), b"".join(rows[:count])))
    with pytest.raises(PictureError, match="its pixels end after 155 of 310 bytes"):
        Picture.of(png((10, 10), b"".join(rows[:5])))
    assert (Picture.of(png((10, 10), b"".join(rows) + b"more")).pixels == 200).all()


def test_a_png_that_is_black_below_is_whole():
    half = NOISE.copy()
    half[4:] = 0
    for image in (half, half[..., 0], np.dstack([half, np.full((9, 14), 255, np.uint8)])):
        assert np.array_equal(
            Picture.of(encoded(image, "PNG")).pixels,
            half if image.ndim == 3 else half[..., :1].repeat(3, -1),
        )
    bits = Image.fromarray(half[..., 0] > 100)
    assert Picture.of(encoded(bits, "PNG")).pixels[4:].max() == 0


def test_interlaced_png():
    # 2 x 2 pixels of grey: pass 1 holds (0, 0), pass 6 (0, 1), pass 7 row 1
    whole = b"\0\x0a" + b"\0\x14" + b"\0\x1e\x28"
    assert Picture.of(png((2, 2), whole, colour=0, interlace=1)).pixels[..., 0].tolist() == [
        [10, 20],
        [30, 40],
    ]
    with pytest.raises(PictureError, match="truncated"):
        Picture.of(png((2, 2), whole[:4], colour=0, interlace=1))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_damaged_bytes_give_a_picture_or_a_picture_error(form):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    good = encoded(SMOOTH, form, exif=exif)
    draw = np.random.default_rng(5)
    whole, refused = 0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning may come out either
        for _ in range(200):
            data = bytearray(good)
            if draw.random() < 0.2:
                start = int(draw.integers(len(data)))
                del data[start : start + int(draw.integers(1, 20))]
            for index in draw.integers(
                0, min(len(data), int(draw.choice([60, 200, 10**6]))), draw.integers(1, 6)
            ):
                data[index] = draw.choice([0, 255, draw.integers(256)])
            try:
                picture = Picture.of(bytes(data))
            except PictureError:
                refused += 1
            else:
                whole += 1
                assert picture.pixels.dtype == np.uint8
                assert picture.pixels.shape[2] == 3
    assert whole
    assert refused


def test_random_bytes_are_no_picture():
    draw = np.random.default_rng(6)
    for size in (1, 2, 17, 100, 5000):
        with pytest.raises(PictureError):
            Picture.of(draw.bytes(size))


def test_pictures_without_pixels():
    for nothing in (Image.new("RGB", (0, 0)), Image.new("L", (0, 5))):
        with pytest.raises(PictureError, match="has no pixels"):
            Picture.of(nothing)


@pytest.mark.parametrize("source", [None, 5, 3.0, ["a.png"], {"path": "a.png"}, object()])
def test_other_sources(source):
    with pytest.raises(
        TypeError, match="expected a path, bytes, a Pillow image, an array or a tensor; got"
    ):
        Picture.of(source)


# --- arrays and tensors


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4, 3), np.uint8), r"got shape \[0, 4, 3\]"),
        (np.zeros((4, 4, 2), np.uint8), r"got shape \[4, 4, 2\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got shape \[1, 4, 4, 3\]"),
        (np.zeros(5, np.uint8), r"got shape \[5\]"),
        (np.uint8(5)[None][0:0], r"got shape \[0\]"),
        (np.full((2, 2, 3), np.nan), "NaN or infinite"),
        (np.full((2, 2), np.inf, np.float32), "NaN or infinite"),
        (np.full((2, 2), -0.01), r"floats must lie in \[0, 1\], got -0.01 to -0.01"),
        (np.full((2, 2), 255.0), "undo any normalisation"),
        (np.full((2, 2), 200, np.int32), "expected uint8, uint16 or float pixels, got int32"),
        (np.full((2, 2), 200, np.int64), "got int64"),
        (np.full((2, 2), 20, np.int8), "got int8"),
        (np.full((2, 2), 200, np.uint32), "got uint32"),
        (np.full((2, 2), 1j), "got complex128"),
        (np.full((2, 2), "a"), "got <U1"),
    ],
)
def test_arrays_that_are_no_picture(array, message):
    with pytest.raises(PictureError, match=message):
        Picture.of(array, name="mine")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_every_level_survives_as_a_float(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(Picture.of((levels / 255).astype(dtype)).pixels[..., 0], levels)


def test_floats_a_rounding_beyond_one():
    assert Picture.of(np.array([[1 + 5e-7, -5e-7]])).pixels[0, :, 0].tolist() == [255, 0]


def test_tensors_channels_first_or_last():
    first = torch.from_numpy(NOISE).permute(2, 0, 1)
    assert np.array_equal(Picture.of(first).pixels, NOISE)
    assert np.array_equal(Picture.of(torch.from_numpy(NOISE)).pixels, NOISE)
    assert np.array_equal(Picture.of(first.float() / 255).pixels, NOISE)
    assert np.array_equal(Picture.of(first[:1]).pixels, NOISE[..., :1].repeat(3, -1))
    assert np.array_equal(Picture.of(first[0]).pixels, NOISE[..., :1].repeat(3, -1))
    assert np.array_equal(Picture.of((first / 255).requires_grad_()).pixels, NOISE)


def test_where_both_readings_fit_a_tensor_is_channels_first():
    ambiguous = torch.arange(3 * 5 * 3, dtype=torch.uint8).reshape(3, 5, 3)
    picture = Picture.of(ambiguous)
    assert picture.size == (5, 3)
    assert np.array_equal(picture.pixels, ambiguous.permute(1, 2, 0).numpy())
    assert Picture.of(ambiguous.numpy()).size == (3, 5)  # an array has its channels last


def test_half_precision_tensors():
    levels = torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    for dtype in (torch.bfloat16, torch.float16):
        assert Picture.of(levels.to(dtype)).pixels[0, :, 0].tolist() == [0, 64, 128, 255]
    with pytest.raises(PictureError, match="NaN"):
        Picture.of(torch.full((3, 2, 2), torch.nan, dtype=torch.bfloat16))
    assert Picture.of(torch.tensor([[True, False]])).pixels[0, :, 0].tolist() == [255, 0]


# --- frozen, not shared, and known by a key


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.full((4, 5, 3), 9, np.uint8),
        lambda: np.full((4, 5), 9, np.uint8),
        lambda: np.asfortranarray(np.full((4, 5, 3), 9, np.uint8)),
        lambda: np.full((8, 10, 4), 9, np.uint8)[::2, ::2, :3],
        lambda: np.full((4, 5, 3), 0.5),
        lambda: torch.full((3, 4, 5), 9, dtype=torch.uint8),
        lambda: torch.full((4, 5, 3), 9, dtype=torch.uint8),
        lambda: torch.full((4, 5), 9, dtype=torch.uint8),
        lambda: Image.new("RGB", (5, 4), (9, 9, 9)),
        lambda: bytearray(encoded(np.full((4, 5, 3), 9, np.uint8), "PNG")),
    ],
)
def test_the_callers_data_stay_the_callers(make):
    source = make()
    picture = Picture.of(source)
    copy = picture.pixels.copy()
    if isinstance(source, Image.Image):
        source.paste((1, 2, 3), (0, 0, 5, 4))
    elif isinstance(source, torch.Tensor):
        source.fill_(1)
    else:
        source[:] = b"\0" * len(source) if isinstance(source, bytearray) else 1  # still writable
    assert np.array_equal(picture.pixels, copy)
    assert not picture.pixels.flags.writeable
    assert picture.pixels.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0] = 0


def test_a_read_only_array_is_taken_too():
    array = NOISE.copy()
    array.flags.writeable = False
    assert np.array_equal(Picture.of(array).pixels, NOISE)


def test_keys(tmp_path):
    data = encoded(NOISE, "PNG")
    file = tmp_path / "a.png"
    file.write_bytes(data)
    key = Picture.of(data).key
    assert Picture.of(file).key == Picture.of(memoryview(data), name="other").key == key
    assert Picture.of(encoded(NOISE, "BMP")).key != key  # other bytes, whatever the pixels
    other = NOISE.copy()
    other[-1, -1, -1] ^= 1
    assert Picture.of(NOISE).key == Picture.of(NOISE.copy()).key
    assert Picture.of(NOISE).key == Picture.of(torch.from_numpy(NOISE)).key
    assert Picture.of(NOISE).key == Picture.of(Image.fromarray(NOISE)).key
    assert Picture.of(NOISE).key != Picture.of(other).key
    flat = np.zeros((4, 6, 3), np.uint8)
    # The same bytes in another shape.
    assert Picture.of(flat).key != Picture.of(flat.reshape(6, 4, 3)).key
    assert len(key) == 32


def test_resizing_a_crop_equals_cropping_the_resized_picture():
    big = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    picture = Picture.of(big)
    whole = picture.resized((40, 60), (0, 0, 60, 90), "bicubic")
    crop = picture.resized((20, 30), (15, 22.5, 45, 67.5), "bicubic")
    assert np.array_equal(crop, whole[10:30, 15:45])
    assert np.array_equal(
        whole, np.asarray(Image.fromarray(big).resize((60, 40), Image.Resampling.BICUBIC))
    )


def test_real_photos(data):
    for path in sorted((data / "coco" / "images").glob("*.jpg"))[:5]:
        picture = Picture.of(path)
        assert np.array_equal(picture.pixels, np.asarray(Image.open(path).convert("RGB")))


# --- open files, and what Pillow's modes say


class Reader:
    """What can be read and nothing else: a response of the network, say."""

    def __init__(self, data) -> None:
        self.data = data

    def read(self, size: int = -1):
        data, self.data = self.data, self.data[:0]
        return data


def test_open_files_are_read_and_left_as_they_were(tmp_path):
    data = encoded(NOISE, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        picture = Picture.of(file)
        assert (picture.key, picture.name) == (Picture.of(data).key, str(path))
        assert file.read(4) == data[:4]
        file.seek(0, 2)
        with pytest.raises(PictureError, match=r"read to its end already: seek\(0\) first"):
            Picture.of(file)
    with pytest.raises(PictureError, match="cannot be read"):
        Picture.of(file)
    for source in (io.BytesIO(data), Reader(data)):
        assert np.array_equal(Picture.of(source).pixels, NOISE)
    with pytest.raises(TypeError, match="not bytes: open it with 'rb'"):
        Picture.of(io.StringIO("text"))


def test_several_open_files_are_several_images():
    data = encoded(NOISE, "PNG")
    assert len(decode_images([io.BytesIO(data), Reader(data)])) == 2
    assert len(decode_images(io.BytesIO(data))) == 1
    assert len(decode_images(memoryview(data))) == 1


def test_integers_of_pillow_that_may_be_of_eight_bits_are_not_guessed():
    grey = Image.fromarray(NOISE[..., 0])
    with pytest.raises(PictureError, match="may be of 8 bits or of 16: give uint8"):
        Picture.of(grey.convert("I"))
    deep = Image.fromarray(NOISE[..., 0].astype(np.int32) * 257)
    assert np.array_equal(Picture.of(deep).pixels[..., 0], NOISE[..., 0])
    wide = np.array([[0, 100, 65535]], np.uint16)
    assert Picture.of(b"P5 3 1 65535\n" + wide.astype(">u2").tobytes()).pixels[
        0, :, 0
    ].tolist() == [0, 0, 255]


@pytest.mark.parametrize("height", [1, 2, 3, 4])
def test_tensors_of_small_height_have_their_channels_first(height):
    pixels = np.random.default_rng(height).integers(0, 256, (height, 40, 3), dtype=np.uint8)
    first = torch.from_numpy(pixels).permute(2, 0, 1)
    assert np.array_equal(Picture.of(first).pixels, pixels)
    assert np.array_equal(Picture.of(pixels).pixels, pixels)
    assert Picture.of(first[:1]).size == (height, 40)
    assert [picture.size for picture in decode_images(first[None])] == [(height, 40)]

"""Half pictures never pass where it can be known; whole ones do; missing memory is called that."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image, ImageFile

from regiontok.core import decoding
from regiontok.core.animation import Animation
from regiontok.core.decoding import NoMemoryError, loaded_png, stored_size
from regiontok.core.picture import Picture, PictureError

draw = np.random.default_rng(0)
ROUGH = np.clip(
    np.kron(draw.integers(0, 200, (12, 16, 3)), np.ones((10, 10, 1)))
    + draw.integers(0, 56, (120, 160, 3)),
    0,
    255,
).astype(np.uint8)
FORMS = [
    ("JPEG", {}),
    ("JPEG", {"optimize": True, "quality": 95}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("AVIF", {}),
    ("GIF", {}),
    ("JPEG2000", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]


def encoded(pixels: np.ndarray, form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(("form", "options"), FORMS)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_zeros_in_the_place_of_the_end_are_damage(form, options, share):
    data = encoded(ROUGH, form, **options)
    assert Picture.of(data).size == (120, 160)
    start = int(len(data) * share)
    with pytest.raises(PictureError, match=r"damaged or truncated|not an image"):
        Picture.of(data[:start] + bytes(len(data) - start))


@pytest.mark.parametrize(("form", "options"), [FORMS[0], FORMS[1], FORMS[3], FORMS[6], FORMS[7]])
def test_zeros_in_the_middle_are_damage_where_that_can_be_known(form, options):
    data = encoded(np.tile(ROUGH, (2, 2, 1)), form, **options)
    start = len(data) // 2
    with pytest.raises(PictureError, match="damaged or truncated"):
        Picture.of(data[:start] + bytes(1024) + data[start + 1024 :])


@pytest.mark.slow
@pytest.mark.parametrize("make", ["flat", "half", "line"])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        *(FORMS[index] for index in (0, 1, 2, 4, 5)),
        ("AVIF", {"speed": 10}),
        ("WEBP", {"method": 0}),
        ("WEBP", {"lossless": True, "method": 0, "quality": 0}),
        ("JPEG", {"optimize": True, "subsampling": 0}),
        ("JPEG", {"progressive": True, "quality": 30}),
        ("JPEG", {"restart_marker_blocks": 3}),
    ],
)
def test_flat_pictures_whose_data_are_zeros_are_whole(make, form, options):
    pixels = np.full((480, 640, 3), 30, np.uint8)
    if make == "half":
        pixels[:240] = draw.integers(0, 256, (240, 640, 3))
    if make == "line":
        pixels[::97] = 255
    for image in (pixels, pixels[..., 0]):
        assert Picture.of(encoded(image, form, **options)).size == (480, 640)


def test_a_jpeg_may_have_bytes_behind_its_end_and_a_picture_inside():
    thumbnail = encoded(ROUGH[:20, :20], "JPEG")
    data = encoded(ROUGH, "JPEG")
    inside = data[:2] + b"\xff\xe5" + (len(thumbnail) + 2).to_bytes(2) + thumbnail + data[2:]
    for whole in (data + bytes(2000), inside, data[:2] + b"\xff" + data[2:]):
        assert np.array_equal(Picture.of(whole).pixels, Picture.of(data).pixels)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_switch_of_other_libraries_lets_no_half_picture_through(form, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(ROUGH, form)
    assert Picture.of(data).size == (120, 160)
    with pytest.raises(PictureError):
        Picture.of(data[: len(data) * 6 // 10])
    lazy = Image.open(io.BytesIO(encoded(ROUGH, "JPEG")[:3000]))
    with pytest.raises(PictureError):
        Picture.of(lazy)
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # it is left as the others set it


def test_the_switch_is_put_back_behind_the_last_of_several_threads(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with decoding.STRICTNESS.held():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(5)
    with decoding.STRICTNESS.held():
        pass
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    leave.set()
    thread.join()
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_animation_ends_at_its_damage_whatever_the_switch_says(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(np.roll(ROUGH, shift, 1)) for shift in (0, 40, 80)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    path.write_bytes(path.read_bytes()[:-400])
    animation = Animation(path)
    assert len(list(animation.timed_frames())) == 2
    assert animation.damage
    animation.close()


# --- memory


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory error when reading image file")]
)
def test_missing_memory_is_no_damage_and_the_image_is_tried_again(error, monkeypatch):
    data, calls = encoded(ROUGH, "JPEG"), []

    def fail(image) -> None:
        calls.append(image)
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(NoMemoryError, match=r"a\.jpg: this machine has no memory left") as caught:
        Picture.of(data, "a.jpg")
    assert "damaged" not in str(caught.value)
    assert "the file may be whole" in str(caught.value)
    assert len(calls) == 2
    assert isinstance(caught.value, PictureError)


def test_a_decoder_that_hides_missing_memory_is_seen_through(monkeypatch):
    def fail(image) -> None:
        raise OSError("broken data stream when reading image file")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(PictureError, match="damaged or truncated"):
        Picture.of(encoded(ROUGH, "JPEG"))
    monkeypatch.setattr(decoding, "_has_memory", lambda count: False)
    with pytest.raises(NoMemoryError):
        Picture.of(encoded(ROUGH, "JPEG"))


# --- heads, and PNGs as they are


def test_the_size_in_the_file_and_the_orientation_come_from_the_head():
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "WEBP"):
        assert stored_size(encoded(ROUGH, form, exif=exif), "a") == ((120, 160), 6)
    with pytest.raises(PictureError, match="a: not an image of a known format"):
        stored_size(b"no photo", "a")


def test_a_png_is_given_as_it_is_and_whole():
    palette = Image.fromarray(ROUGH).quantize(16)
    file = io.BytesIO()
    palette.save(file, "PNG")
    image = loaded_png(file.getvalue(), "labels")
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), np.asarray(palette))
    half = file.getvalue()[:200] + bytes(len(file.getvalue()) - 200)
    with pytest.raises(PictureError, match="labels: damaged or truncated"):
        loaded_png(half, "labels")

    def refuse(size: tuple[int, int]) -> None:
        raise ValueError(f"not {size}")

    with pytest.raises(PictureError, match=r"^not \(120, 160\)$"):
        loaded_png(file.getvalue(), "labels", refuse)
    with pytest.raises(PictureError, match="not an image"):
        loaded_png(encoded(ROUGH, "JPEG"), "labels")

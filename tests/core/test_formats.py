"""Every file is opened with its formats named, so that no decoder starts another program."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regiontok
from regiontok.core.formats import FORMATS, SUFFIXES, open_image
from regiontok.core.picture import Picture, PictureError

ROOT = Path(regiontok.__file__).parent
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 32\n%%EndComments\nshowpage\n%%EOF"


def test_image_open_is_called_in_one_place():
    callers = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"\bImage\.open\(|import_module\(.PIL.Image", path.read_text("utf-8"))
    ]
    assert callers == ["core/formats.py"]


def test_no_format_starts_another_program():
    assert not {"EPS", "WMF", "FITS", "MPEG"} & set(FORMATS)
    with pytest.raises(PictureError, match="not an image of a known format"):
        Picture.of(EPS)
    with pytest.raises(Image.UnidentifiedImageError):
        open_image(EPS, ("PNG",))


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1", b"mif1\0\0\0\0heic", b"heix\0\0\0\0abcd"])
def test_a_heic_without_its_package_names_the_extra(monkeypatch, brands):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"a HEIC or HEIF.*pip install 'regiontok\[heic\]'"):
        Picture.of(b"\0\0\0\x18ftyp" + brands + bytes(99))


def test_a_heic_is_read_upright():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    scene = np.zeros((64, 96, 3), np.uint8)
    scene[:32] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # a HEIC stands by its own turn, and not by its EXIF
    file = io.BytesIO()
    Image.fromarray(scene).save(file, "HEIF", quality=90, exif=exif)
    picture = Picture.of(file.getvalue())
    assert picture.size == (64, 96)
    assert picture.pixels[5].min() > 150 > 50 > picture.pixels[-5].max()
    with pytest.raises(PictureError):
        Picture.of(file.getvalue()[:400])


def test_an_avif_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "AVIF")
    assert Picture.of(file.getvalue()).size == (16, 16)
    assert {".heic", ".avif", ".jpg"} <= SUFFIXES

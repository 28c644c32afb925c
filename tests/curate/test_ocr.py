"""The stage that reads text: its rows, its readers, and packages that are not what they seem."""

from __future__ import annotations

import io
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from regiontok.core.picture import Picture
from regiontok.curate import text_readers
from regiontok.curate.ocr import OcrPiece, ocr_stage
from regiontok.curate.plan import OcrPlan
from regiontok.curate.text_readers import (
    PaddleReader,
    RapidReader,
    ReaderError,
    WrongPackage,
    text_reader,
)
from regiontok.shards.tar import write_tar
from regiontok.system.errors import UnusableModel
from regiontok.system.need import MissingPackage
from samples.curation import photo
from samples.kept_images import EVERYTHING, kept, staged

WORDS = ("regions of text", "are read here")


def page(*words: str, size=(240, 420)) -> bytes:
    """Lines of black words on white, as PNG."""
    image = Image.new("RGB", size[::-1], "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(words):
        draw.text((30, 40 + 80 * number), line, fill="black", font=ImageFont.load_default(36))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class FakeEngine:
    """What PaddleOCR 3 documents of itself: `predict` gives a list with a mapping a page."""

    def __init__(self, **options):
        self.options = options

    def predict(self, pixels):
        self.seen = pixels
        if pixels.mean() < 1:
            raise RuntimeError("(Fatal) all black\nhint: none")
        if pixels.mean() > 254:
            return [{"rec_polys": [], "rec_texts": [], "rec_scores": []}]
        corners = np.array([[5, 6], [45, 6], [45, 16], [5, 16]], np.int16)
        return [
            {
                "rec_polys": [corners, corners + 20],
                "rec_texts": ["first", "second"],
                "rec_scores": [0.99, 0.12],
            }
        ]


@pytest.fixture
def paddle(monkeypatch):
    """PaddleOCR's reader over a stand-in for its package."""
    monkeypatch.setitem(sys.modules, "paddleocr", SimpleNamespace(PaddleOCR=FakeEngine))
    monkeypatch.setattr(text_readers, "version_of", lambda package: "3.7.0")
    monkeypatch.setattr(text_readers, "READERS", {"paddleocr": PaddleReader})
    text_reader.cache_clear()
    yield text_reader("paddleocr", True)
    text_reader.cache_clear()


def test_every_line_has_its_corners_text_and_score(paddle):
    lines = paddle(Picture.of(photo(1)))
    assert lines.polygons.dtype == np.float32
    assert lines.polygons[0].tolist() == [[5, 6], [45, 6], [45, 16], [5, 16]]
    assert lines.texts == ("first", "second")
    assert lines.scores.tolist() == pytest.approx([0.99, 0.12])


def test_readers_get_blue_first_one_thread_and_no_threshold(paddle):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[..., 0] = 200
    paddle(Picture.of(pixels))
    engine = paddle._loaded
    assert engine.seen[0, 0].tolist() == [0, 0, 200]
    assert engine.seen.flags.c_contiguous
    options = engine.options
    assert (options["cpu_threads"], options["text_rec_score_thresh"]) == (1, 0.0)
    assert (options["text_det_limit_type"], options["text_det_limit_side_len"]) == ("min", 736)
    assert PaddleReader(False).limit == ("max", 960)


def test_the_stage_writes_all_lines_and_sets_images_aside(paddle, tmp_path):
    (tmp_path / "tars").mkdir()
    stream = io.BytesIO()
    Image.new("L", (1_000_000, 1), 200).save(stream, "PNG")
    files = [photo(1), page(), stream.getvalue(), photo(2)[:300]]
    stream = io.BytesIO()
    Image.new("L", (60, 60), 0).save(stream, "PNG")
    files.append(stream.getvalue())
    write_tar(tmp_path / "tars/t.tar", [(f"{i}.png", data) for i, data in enumerate(files)])
    curation, keep = kept(tmp_path / "tars", tmp_path / "out", EVERYTHING)
    plan = OcrPlan(reader="paddleocr")
    rows = staged(ocr_stage(curation, plan, keep), curation, OcrPiece(curation, plan, keep))
    assert rows["t/0"]["texts"] == ["first", "second"]
    assert rows["t/0"]["scores"] == pytest.approx([0.99, 0.12])
    assert rows["t/0"]["polygons"][:4] == [5, 6, 45, 6]
    assert [row["reason"] for row in rows.values()] == [
        "",
        "no text",
        "unread: 1 x 1000000 pixels are too long to be read",
        "left out",
        "unread: the reader fails: (Fatal) all black",
    ]


def test_a_reader_that_cannot_be_loaded_ends_the_run(paddle, monkeypatch):
    def no_models(**options):
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["paddleocr"], "PaddleOCR", no_models)
    with pytest.raises(UnusableModel, match=r"paddleocr 3\.7\.0 cannot be loaded: no route to"):
        PaddleReader(True)(Picture.of(photo(1)))


def test_rapidocr_ng_under_the_same_name_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", SimpleNamespace())
    installed = {"rapidocr-ng": "3.9", "onnxruntime": "1.32"}

    def version_of(package):
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(text_readers, "version_of", version_of)
    with pytest.raises(WrongPackage, match=r"belongs to rapidocr-ng.*pip uninstall rapidocr-ng"):
        _ = RapidReader(True).identity
    installed["rapidocr"] = "3.10.0"
    with pytest.raises(WrongPackage):
        _ = RapidReader(True).identity


def test_a_missing_reader_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingPackage, match=r"regiontok\[curate\]"):
        _ = RapidReader(True).identity


@pytest.mark.slow
def test_rapidocr_reads_a_page_in_both_settings():
    pytest.importorskip("rapidocr")
    for small_text in (True, False):
        lines = RapidReader(small_text)(Picture.of(page(*WORDS)))
        assert lines.texts == WORDS
        assert lines.scores.min() > 0.9
        assert (lines.polygons[1, :, 1] > lines.polygons[0, :, 1] + 60).all()
        with pytest.raises(ReaderError, match="3 x 4000 pixels are too long"):
            RapidReader(small_text)(Picture.of(np.zeros((3, 4000, 3), np.uint8)))
        assert len(RapidReader(small_text)(Picture.of(np.full((64, 64, 3), 255, np.uint8)))) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("tesseract/hebrew.png", "other script"),
        ("tesseract/devatest.png", "other script"),
        ("easyocr/thai.jpg", ""),  # nothing of it scores above .7
        ("easyocr/korean.png", ""),  # only its Latin names do
        ("easyocr/french.jpg", ""),
        ("easyocr/japanese.jpg", ""),
        ("tesseract/phototest.tif", ""),
    ],
)
def test_images_in_other_scripts_are_set_aside(data, image, reason):
    pytest.importorskip("rapidocr")
    from regiontok.curate.scripts import unknown_script, unread_lines

    lines = text_reader("rapidocr", True)(Picture.of(data / "ocr_images" / image))
    assert unknown_script(lines).partition(":")[0] == reason
    if image.endswith(("thai.jpg", "korean.png")):
        used = [
            text
            for text, unread in zip(lines.texts, unread_lines(lines), strict=True)
            if not unread
        ]
        assert all(text.isascii() for text in used)

"""From real photos to a trained encoder, in small."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("rapidocr")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import curate_and_pretrain


@pytest.mark.slow
def test_photos_become_a_trained_encoder(data, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((data / "bsds500" / "images" / "train").glob("*.jpg"))[:40]:
        shutil.copy(path, photos)
    for name in ("eurotext.tif", "eurotext.txt"):
        shutil.copy(data / "ocr_images" / "tesseract" / name, photos)
    words = ["--images", str(photos), "--out", str(tmp_path / "work"), "--k", "8"]
    words += ["--steps", "4", "--size", "64"]
    assert curate_and_pretrain.main(words) == 0
    printed = capsys.readouterr().out
    known, read = next(
        (int(line.split()[3]), int(line.split()[1]))
        for line in printed.splitlines()
        if line.startswith("eurotext.tif")
    )
    assert known > 300
    assert read >= 0.95 * known
    assert "region k-NN on photos that are held out" in printed
    assert (tmp_path / "work" / "run" / "encoder").is_dir()
    assert (tmp_path / "work" / "curated.html").stat().st_size > 10_000
    assert curate_and_pretrain.main(words) == 0, "the same command goes on"


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    words = ["--images", str(tmp_path / "none"), "--out", str(tmp_path / "work")]
    assert curate_and_pretrain.main(words) == 2
    assert capsys.readouterr().err.startswith("curate_and_pretrain: ")

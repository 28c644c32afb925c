"""`regiontok diagnose measure` and `figure` as they are typed."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from regiontok.jobs.diagnose import diagnosis
from samples.command_line import STATUS, regiontok, stop_at

ENCODER = "filters(size=56, patch=14)"


@pytest.mark.slow
def test_measure_writes_results_and_a_page_and_goes_on(photos, tmp_path):
    words = ["diagnose", "measure", ENCODER, "--images", photos, "--variant", "raw", "--sample", 2]
    out = tmp_path / "diagnosis"
    result = regiontok(*words, "--about", "three scenes", "--out", out)
    assert result.exit_code == 0, result.output
    assert [row["variant"] for row in result.report["rows"]] == ["raw"]
    assert result.report["photos"]["about"] == "three scenes"
    assert json.loads((out / "results.json").read_text())["rows"]
    assert "three scenes" in (out / "page.html").read_text()
    (photos / "bad.png").write_bytes(b"no photo")
    again = regiontok(*words, "--out", out, "--resume")
    assert (again.exit_code, again.report["set_aside"]) == (1, 1)
    assert "bad.png" in again.stdout


def test_encoders_are_measured_where_no_command_is_named(photos):
    result = regiontok("diagnose", "litte", "--images", photos)
    assert result.exit_code == 2
    assert "unknown encoder 'litte' (did you mean 'lite'" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
def test_a_stop_keeps_what_was_measured(photos, tmp_path, monkeypatch, number):
    words = [ENCODER, "--images", photos, "--variant", "raw", "--segmenter", "slic(4)"]
    words = ["diagnose", "measure", *words, "--out", tmp_path / "d"]
    with monkeypatch.context() as patch:
        patch.setattr(diagnosis, "measure", stop_at(2, diagnosis.measure, number))
        result = regiontok(*words)
    assert (result.exit_code, result.stdout) == (STATUS[number], "")
    assert "stopped: what was measured is kept; go on with --resume" in result.stderr
    measured = tmp_path / "d" / "measured.jsonl"
    assert len(measured.read_text().splitlines()) == 1
    assert regiontok(*words, "--resume").exit_code == 0
    assert len(measured.read_text().splitlines()) == 3 + 2  # photos; position and pictures


def test_a_photo_may_have_any_name(photos, odd_names, tmp_path):
    for name in odd_names[1:]:
        (photos / name).unlink()  # the same bytes count once
    (photos / "a.png").rename(photos / odd_names[0])
    words = [ENCODER, "--variant", "raw", "--sample", 2, "--segmenter", "slic(4)"]
    result = regiontok(
        "diagnose", "measure", *words, "--images", photos, "--out", tmp_path / "d[red]"
    )
    assert result.exit_code == 0, result.output
    assert "caf\\udce9.png" in (tmp_path / "d[red]" / "page.html").read_text(encoding="utf-8")
    assert f"look at {tmp_path / 'd[red]' / 'page.html'}" in result.stdout


@pytest.mark.slow
def test_figure_is_drawn_of_so_many_photos(photos, tmp_path):
    out = tmp_path / "figure.png"
    words = ["supp2", ENCODER, "--images", photos, "--count", 2, "--out", out]
    result = regiontok("diagnose", "figure", *words)
    assert result.exit_code == 0, result.output
    assert (result.report["figure"], result.report["photos"]) == ("supp2", 2)
    with Image.open(out) as drawing:
        assert drawing.width > 100


def test_an_unknown_figure_is_one_line_and_status_2(photos, tmp_path):
    words = ["supp9", ENCODER, "--images", photos, "--out", tmp_path / "figure.svg"]
    result = regiontok("diagnose", "figure", *words)
    assert result.exit_code == 2
    assert "supp9" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_figure_takes_the_first_photos_that_can_be_read(photos, tmp_path):
    bad = tmp_path / "a.png"
    bad.write_bytes(b"no photo")
    out = tmp_path / "figure.png"
    words = ["diagnose", "figure", "supp2", ENCODER, "--count", 1, "--out", out, "--images"]
    result = regiontok(*words, bad, "--images", photos)
    assert result.exit_code == 1, result.output
    assert (result.report["photos"], result.report["set_aside"]) == (1, 1)
    assert result.report["failed"][0]["image"] == str(bad)
    out.unlink()
    result = regiontok(*words, bad)
    assert (result.exit_code, out.exists()) == (2, False)
    assert "none of 1 photos can be read; the first: " in result.stderr

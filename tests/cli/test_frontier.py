"""`regiontok frontier` as it is typed."""

from __future__ import annotations

import pytest

from regiontok.cli.frontier import parse_budgets
from regiontok.jobs.frontier.comparison import SourceComparison
from samples.command_line import STATUS, regiontok, stop_at


def test_budgets_are_whole_numbers_with_commas():
    assert parse_budgets("4, 16") == [4, 16]
    with pytest.raises(
        ValueError,
        match="expected whole numbers with commas between them, such as 16,64,144; got '16,x'",
    ):
        parse_budgets("16,x")


def test_chosen_sources_at_chosen_budgets(photos):
    words = ["--encoder", "filters(size=112)", "--source", "merge", "--source", "random"]
    result = regiontok("frontier", photos, *words, "--budget", "4,16", "--no-plot")
    assert result.exit_code == 0, result.output
    rows = [(row["source"], row["budget"], row["images"]) for row in result.report["rows"]]
    assert rows == [("merge", 4, 3), ("merge", 16, 3), ("random", 4, 3), ("random", 16, 3)]
    assert result.report["plot"] is None


@pytest.mark.parametrize("number", STATUS)
def test_a_stop_ends_with_what_was_measured(photos, monkeypatch, number):
    measure = stop_at(2, SourceComparison.measure, number)
    monkeypatch.setattr(SourceComparison, "measure", measure)
    words = ["--encoder", "filters(size=56)", "--source", "merge", "--budget", "4", "--no-plot"]
    result = regiontok("frontier", photos, *words)
    assert result.exit_code == STATUS[number]
    assert "stopped: 1 of 3 images are measured" in result.stderr
    assert [row["images"] for row in result.report["rows"]] == [1]
    assert result.report["stopped"]


@pytest.mark.slow
def test_its_own_picture_is_no_input_and_no_other_picture_is_replaced(photos, monkeypatch):
    monkeypatch.chdir(photos)
    words = ["--encoder", "filters(size=56)", "--source", "merge", "--budget", "4"]
    for name in ("frontier.png", "curves.jpg"):
        (row,) = regiontok("frontier", ".", *words, "--out", name).report["rows"]
        assert row["images"] == 3
    photo = (photos / "a.png").read_bytes()
    result = regiontok("frontier", ".", *words, "--out", "a.png")
    assert result.exit_code == 2
    assert "a.png is there and was not drawn by regiontok" in result.stderr
    assert (photos / "a.png").read_bytes() == photo


def test_a_broken_image_is_set_aside_and_every_line_is_json(photos):
    (photos / "broken.png").write_bytes(b"broken")
    words = ["--encoder", "filters(size=56)", "--source", "merge", "--budget", "4", "--no-plot"]
    result = regiontok("frontier", photos, *words)
    assert result.exit_code == 1
    assert (result.report["set_aside"], result.report["rows"][0]["images"]) == (1, 3)
    assert result.report["failed"][0]["image"].endswith("broken.png")


@pytest.mark.slow
def test_a_dry_run_names_the_budgets_that_are_not_met(photos, tmp_path):
    words = ["--encoder", "filters(size=112)", "--source", "merge", "--source", "SLIC"]
    out = tmp_path / "frontier.png"
    result = regiontok("frontier", photos, *words, "--budget", "4,63", "--dry-run", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.report["sources"] == ["merge", "SLIC"]
    assert {miss["source"] for miss in result.report["not_met"]} == {"SLIC"}
    assert all(miss["tried"] == 3 for miss in result.report["not_met"])
    assert "SLIC at 63: not met by 3 of 3 images tried (100%)" in result.stdout
    too_many = regiontok("frontier", photos, *words, "--budget", "65", "--dry-run", "--out", out)
    assert "budget 65 is above the 64 patches" in too_many.stdout
    assert not out.exists()

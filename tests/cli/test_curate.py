"""`regiontok curate` as it is typed."""

from __future__ import annotations

import pytest

from regiontok.shards.tar import write_tar
from samples.command_line import regiontok


@pytest.fixture
def plan(photos, tmp_path):
    """A plan over two tars of scenes, of which one comes twice."""
    a, b, c = (photos / name for name in ("a.png", "b.jpg", "more/c.png"))
    (tmp_path / "tars").mkdir()
    for name, files in (("s-0", (a, b)), ("s-1", (c, a))):
        named = [(f"{i:03}{path.suffix}", path.read_bytes()) for i, path in enumerate(files)]
        write_tar(tmp_path / "tars" / f"{name}.tar", named)
    path = tmp_path / "plan.toml"
    path.write_text('images = ["tars"]\npiece = 1\n[filter]\nshorter_edge = 80\n')
    return path


def test_a_plan_is_run_and_asked_after(plan, tmp_path):
    out = tmp_path / "out"
    report = regiontok("curate", plan, "--out", out).report
    assert (report["keep"]["images"], report["keep"]["kept"]) == (4, 3)
    assert report["keep"]["set_aside"] == {"duplicate": 1}
    status = regiontok("curate", "status", out).report
    assert (status["stages"][0]["tars"], status["keep"]) == (2, report["keep"])
    assert regiontok("curate", "run", plan, "--out", out).report["keep"] == report["keep"]


def test_images_that_are_all_too_small_are_said_before_the_run(plan, tmp_path):
    plan.write_text('images = ["tars"]\n')
    result = regiontok("curate", plan, "--out", tmp_path / "out")
    assert "all of 4 images looked at have a shorter edge below 336 pixels" in result.stderr
    assert result.report["keep"]["set_aside"] == {"small": 4, "duplicate": 0}


def test_no_curation_and_no_plan_are_named(tmp_path):
    result = regiontok("curate", "status", tmp_path)
    assert result.exit_code == 2
    assert "no curation has begun here" in result.stderr
    result = regiontok("curate", tmp_path / "plan.toml", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "plan.toml" in result.stderr

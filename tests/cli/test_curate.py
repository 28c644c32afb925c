"""`regiontok curate` as it is typed."""

from __future__ import annotations

import json

import pytest

from regiontok.shards.report import read_report
from regiontok.shards.sources import ShardSource, find_shards
from regiontok.shards.tar import write_tar
from samples.command_line import regiontok

FILTER = "[filter]\nshorter_edge = 80\n"
SMALL = """
[propose]
shorter_edge = 10
[embed]
encoder = "filters(size=112, fourier=0)"
by = "dense"
size = 112
[cluster]
k = 2
top = 2
[ocr]
reader = "none"
"""


@pytest.fixture
def plan(photos, tmp_path):
    """A plan over two tars of scenes, of which one comes twice."""
    a, b, c = (photos / name for name in ("a.png", "b.jpg", "more/c.png"))
    (tmp_path / "tars").mkdir()
    for name, files in (("s-0", (a, b)), ("s-1", (c, a))):
        named = [(f"{i:03}{path.suffix}", path.read_bytes()) for i, path in enumerate(files)]
        write_tar(tmp_path / "tars" / f"{name}.tar", named)
    path = tmp_path / "plan.toml"
    path.write_text('images = ["tars"]\npiece = 1\n' + FILTER)
    return path


def states(status) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in status["stages"]}


def test_a_plan_is_run_and_asked_after(plan, tmp_path):
    out = tmp_path / "out"
    words = ("curate", plan, "--out", out, "--until", "keep")
    report = regiontok(*words).report
    assert (report["keep"]["images"], report["keep"]["kept"]) == (4, 3)
    assert report["keep"]["set_aside"] == {"duplicate": 1}
    status = regiontok("curate", "status", out).report
    assert (status["stages"][0]["tars"], status["keep"]) == (2, report["keep"])
    assert states(status)["label"] == "waits for cluster"
    assert regiontok(*words).report["keep"] == report["keep"]


def test_verify_lists_what_is_not_done_and_what_is_damaged(plan, tmp_path):
    out = tmp_path / "out"
    regiontok("curate", plan, "--out", out, "--until", "keep")
    keep = out / "keep.parquet"
    keep.write_bytes(keep.read_bytes()[:-30])
    result = regiontok("curate", "verify", out)
    findings = {finding["file"]: finding["problem"] for finding in result.report["findings"]}
    assert result.exit_code == 1
    assert "corrupt" in findings[str(keep)]
    assert findings[str(out / "s-0.propose.json")] == "missing: not done yet"
    assert findings["label"] == "waits for cluster"
    assert f"{len(findings)} findings" in result.stderr + result.stdout


def test_an_address_without_ray_is_refused(plan, tmp_path):
    result = regiontok("curate", plan, "--out", tmp_path / "out", "--ray-address", "auto")
    assert (result.exit_code, "goes with --engine ray" in result.stderr) == (2, True)


def test_what_would_be_done_is_said(plan, tmp_path):
    out = tmp_path / "out"
    words = ("curate", plan, "--out", out, "--dry-run")
    stages = {stage["name"]: stage for stage in regiontok(*words).report["stages"]}
    assert stages["filter"]["todo"] == {"pieces": 4, "images": 4}
    assert stages["filter"]["seconds_left"] is None
    assert stages["embed"]["state"] == "waits for keep"
    assert not [*out.glob("*.filter.*")]
    regiontok("curate", plan, "--out", out, "--only", "filter")
    result = regiontok(*words)
    stages = {stage["name"]: stage for stage in result.report["stages"]}
    assert stages["filter"] | {"todo": {"pieces": 0, "images": 0}} == stages["filter"]
    assert "filter: done" in result.stdout


def test_stages_out_of_turn_and_unknown_ones_are_refused(plan, tmp_path):
    result = regiontok("curate", plan, "--out", tmp_path / "out", "--only", "label")
    assert result.exit_code == 2
    assert "label needs what keep writes: do that first" in result.stderr
    result = regiontok("curate", plan, "--out", tmp_path / "out", "--until", "embedding")
    assert result.exit_code == 2
    assert "no stage 'embedding'" in result.stderr


@pytest.mark.slow
def test_from_tars_to_side_cars_and_a_page(plan, tmp_path):
    plan.write_text(plan.read_text() + SMALL)
    out, html = tmp_path / "out", tmp_path / "page.html"
    result = regiontok("curate", plan, "--out", out)
    assert set(states(result.report).values()) == {"done"}
    shards = find_shards(ShardSource(tmp_path / "tars", out / "shards")).shards
    assert sum(shard.images for shard in shards) == 3
    assert {shard.classes for shard in shards} == {2}
    assert f"sidecars='{out / 'shards'}'" in result.stdout
    assert regiontok("curate", "verify", out).report["findings"] == []
    summary = regiontok("curate", "report", out, "--html", html).report
    regions = sum(read_report(path).regions for path in (out / "shards").glob("*.regions.json"))
    assert summary["regions"] == regions > 3
    assert html.read_text().count("<img ") > 6
    before = json.loads((out / "s-0.embed.json").read_text())
    plan.write_text(plan.read_text().replace("k = 2", "k = 3"))
    report = regiontok("curate", plan, "--out", out).report
    assert {shard.classes for shard in find_shards(shards[0].source).shards} == {3}
    assert report["centroids"]["k"] == 3
    assert json.loads((out / "s-0.embed.json").read_text()) == before, "it reads nothing new"


def test_a_tar_that_is_gone_stops_the_run_or_is_left_out(plan, tmp_path):
    out = tmp_path / "out"
    words = ("curate", plan, "--out", out, "--until", "keep")
    regiontok(*words)
    (tmp_path / "tars" / "s-1.tar").unlink()
    plan.write_text(plan.read_text().replace("shorter_edge = 80", "shorter_edge = 79"))
    assert regiontok(*words).exit_code == 2
    result = regiontok(*words, "--without-failed")
    assert (result.exit_code, len(result.report["failed"])) == (1, 2)
    (left_out,) = result.report["left_out"]
    assert (left_out["tar"], left_out["stage"], left_out["images"]) == ("s-1", "filter", 2)
    assert (result.report["keep"]["images"], result.report["keep"]["kept"]) == (2, 2)
    assert "left out: s-1 from filter on (s-1, images 0 to 0:" in result.stdout
    assert "without 1 tars that are left out" in regiontok("curate", "verify", out).stdout


def test_images_that_are_all_too_small_are_said_before_the_run(plan, tmp_path):
    plan.write_text('images = ["tars"]\n')
    result = regiontok("curate", plan, "--out", tmp_path / "out", "--until", "keep")
    assert "all of 4 images looked at have a shorter edge below 336 pixels" in result.stderr
    assert result.report["keep"]["set_aside"] == {"small": 4, "duplicate": 0}


def test_no_curation_and_no_plan_are_named(tmp_path):
    result = regiontok("curate", "status", tmp_path)
    assert result.exit_code == 2
    assert "no curation has begun here" in result.stderr
    result = regiontok("curate", tmp_path / "plan.toml", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "plan.toml" in result.stderr

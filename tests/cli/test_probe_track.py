"""`regiontok probe track` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from regiontok.probe.track.settings import SETTINGS, settings_by_name
from samples.command_line import regiontok
from samples.tracks import write_got10k

ENCODER = "filters(size=64)"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs and crops of the settings `mini` that take a moment."""
    small = settings_by_name("mini").but(batch=2, template=28, search=56, distinct_batches=2)
    monkeypatch.setitem(SETTINGS, "mini", small)  # type: ignore[arg-type]  # a dictionary


@pytest.fixture
def clips(tmp_path: Path) -> str:
    return f"got10k:{write_got10k(tmp_path / 'clips', ['a', 'b'], 3)}"


def test_a_head_is_trained_measured_found_again_and_refused_to_another_encoder(
    tmp_path: Path, clips: str
):
    words = ("probe", "track", ENCODER, "--test", clips, "--out", tmp_path / "out")
    more = ("--sheet", tmp_path / "tracks.png", "--submission", "got10k", "--device", "cpu")
    result = regiontok(*words, "--train", clips, "--steps", "2", *more)
    assert result.exit_code == 0, result.output
    stays, row = result.report["rows"]
    assert stays["encoder"] == "the first box stays"
    assert row["encoder"] == ENCODER
    assert set(row["scores"]) >= {"success", "ao", "sr50"}
    assert set(row["clips"]) == {"a", "b"}
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["rows"][1] == row
    with zipfile.ZipFile(tmp_path / "out" / "got10k.zip") as archive:
        assert len(archive.namelist()) == 4
    assert Image.open(tmp_path / "tracks.png").width > 300
    again = regiontok(*words, "--device", "cpu")
    assert again.report["rows"][1]["scores"] == row["scores"]
    run = next((tmp_path / "out").glob("*/seed-0"))
    run.parent.rename(run.parent.with_name("lite"))
    other = regiontok("probe", "track", "lite", *words[3:])
    assert other.exit_code == 2
    assert "was trained on the encoder filters" in other.stderr


def test_what_is_wrong_is_one_line(tmp_path: Path, clips: str):
    words = ("probe", "track", ENCODER, "--test", clips, "--out", tmp_path / "out")
    for more, message in (
        (("--settings", "big"), "paper300, paper100, mini, not 'big'"),
        (("--absent", "in"), "--absent is out or missed"),
        (("--train", "vot:x"), "expected LAYOUT:FOLDER"),
        ((), "holds no run of a probe"),
        (("--submission", "vot"), "got10k or trackingnet, not 'vot'"),
    ):
        result = regiontok(*words, *more)
        assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_a_dry_run_says_what_would_be_read_and_writes_nothing(tmp_path: Path, clips: str):
    words = ("--test", clips, "--train", clips, "--seeds", "2", "--dry-run")
    result = regiontok("probe", "track", ENCODER, *words, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert result.report["pairs"] == 1200
    assert [run["seed"] for run in result.report["runs"]] == [0, 1]
    assert result.report["test"]["frames"] == 6
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_of_two_processes_the_first_alone_measures_and_speaks(tmp_path: Path, clips: str):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ("-m", "regiontok", "probe", "track", ENCODER, "--train", clips, "--test", clips)
    more = ("--steps", "1", "--batches", "2", "--device", "cpu", "--out", str(tmp_path / "out"))
    run = subprocess.run(
        [sys.executable, *launcher, *words, *more],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    reports = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [[row["seed"] for row in report["rows"]] for report in reports] == [[None, 0]]
    assert run.stderr.count("step 1 ") == 1
    (log,) = (tmp_path / "out").glob("*/seed-0/log.jsonl")
    kinds = [json.loads(line)["kind"] for line in log.read_text().splitlines()]
    assert kinds == ["stage", "step"]

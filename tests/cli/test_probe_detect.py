"""`regiontok probe detect` as it is typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from regiontok.cli import probe_detect as module
from regiontok.probe.detect.schedules import SCHEDULES
from samples.command_line import regiontok
from samples.detection import coco_world

ENCODER = ("--encoder", "filters(size=112)", "--device", "cpu")


@pytest.mark.slow
def test_two_seeds_are_trained_and_scored_and_found_again(tmp_path):
    coco_world(tmp_path / "data" / "train", 3)
    coco_world(tmp_path / "data" / "test", 1)
    words = ("probe", "detect", tmp_path / "data", *ENCODER, "--out", tmp_path / "out")
    more = ("--steps", "1", "--per-step", "2", "--seeds", "2", "--sheet", tmp_path / "sheet.png")
    result = regiontok(*words, *more)
    assert result.exit_code == 0, result.output
    assert "box AP50" in result.stdout
    assert "mean" in result.stdout
    assert [run["seed"] for run in result.report["runs"]] == [0, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seed-0", "seed-1"]
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.format == "PNG"
    refused = regiontok(*words, *more)
    assert refused.exit_code == 2
    assert "holds a run already: go on with --resume" in refused.stderr
    again = regiontok(*words, *more, "--resume")
    assert again.report["runs"] == result.report["runs"]


@pytest.mark.slow
def test_of_two_processes_the_first_alone_scores_and_speaks(tmp_path):
    coco_world(tmp_path / "data" / "train", 4)
    coco_world(tmp_path / "data" / "test", 1)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ("-m", "regiontok", "probe", "detect", str(tmp_path / "data"), *ENCODER)
    more = ("--steps", "1", "--per-step", "2", "--per-device", "1", "--out", str(tmp_path / "out"))
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(
        [sys.executable, *launcher, *words, *more],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    reports = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [report["runs"][0]["step"] for report in reports] == [1]


def test_a_plan_writes_nothing(tmp_path):
    coco_world(tmp_path / "data" / "train", 3)
    coco_world(tmp_path / "data" / "test", 1)
    words = ("probe", "detect", tmp_path / "data", *ENCODER, "--out", tmp_path / "out")
    plan = regiontok(*words, "--dry-run")
    assert "of 9 categories in 3 pictures, scored on 1 by the rule of COCO" in plan.output
    assert plan.report["steps"] == 400
    assert not (tmp_path / "out").exists()


def test_a_users_mistakes_are_one_line(tmp_path):
    coco_world(tmp_path / "data", 1)
    result = regiontok("probe", "detect", tmp_path / "data", *ENCODER)
    assert result.exit_code == 2
    assert "nothing to score against: name it with --test" in result.stderr
    shutil.rmtree(tmp_path / "data")
    result = regiontok("probe", "detect", tmp_path / "data", "--test", tmp_path / "data", *ENCODER)
    assert result.exit_code == 2
    assert "is neither a file nor a folder with one of" in result.stderr


def test_all_schedules_are_completed():
    assert set(module._SCHEDULES) == set(SCHEDULES)

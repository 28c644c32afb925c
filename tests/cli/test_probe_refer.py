"""`regiontok probe refer` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from samples.command_line import regiontok

ENCODER = "filters(size=64, patch=16)"
FEW = ("--pictures", "2", "--test-pictures", "2", "--device", "cpu", "--rows", "2")


def test_a_model_is_trained_and_measured(tmp_path: Path):
    sheet = tmp_path / "masks.png"
    words = ("probe", "refer", ENCODER, *FEW, "--steps", "1", "--out", tmp_path / "out")
    result = regiontok(*words, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    assert "blind: mean mask" in result.output
    blind, _, row = result.report["means"]
    assert blind["encoder"] == "blind: whole picture"
    assert row["encoder"] == ENCODER
    assert set(row["scores"]) == {"ciou", "giou", "p50"}
    assert Image.open(sheet).width > 300


def test_a_dry_run_says_what_learns_and_writes_nothing(tmp_path: Path):
    words = ("probe", "refer", ENCODER, *FEW, "--out", tmp_path / "out", "--dry-run")
    result = regiontok(*words)
    assert result.exit_code == 0, result.output
    assert result.report["steps"] == 300
    assert result.report["learns"]["to_prompt"] > 0
    assert "encoder" not in result.report["learns"]
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_one_line(tmp_path: Path):
    for words, message in (
        ((), "expected one encoder at least"),
        (("lite", "--recipe", "liza"), "lisa"),
        (("--vlm", tmp_path), "say --sam, too"),
        (("lite", "--references", tmp_path / "refs(unc).p"), "cannot be read"),
    ):
        result = regiontok("probe", "refer", *words, "--out", tmp_path / "out", "--device", "cpu")
        assert result.exit_code == 2, result.output
        assert message in result.stderr, result.output


@pytest.mark.slow
def test_of_two_processes_the_first_alone_scores_and_speaks(tmp_path: Path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ("-m", "regiontok", "probe", "refer", ENCODER, *FEW, "--batches", "2")
    more = ("--steps", "1", "--out", str(tmp_path / "out"))
    run = subprocess.run(
        [sys.executable, *launcher, *words, *more],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    reports = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [report["means"][2]["encoder"] for report in reports] == [ENCODER]
    assert run.stdout.count("Referring segmentation, %") == 1

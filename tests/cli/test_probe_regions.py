"""`regiontok probe regions`: the command from end to end on a few scenes."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from typer.testing import CliRunner

from regiontok.cli.app import app
from regiontok.rice.export import save
from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig


@pytest.mark.slow
def test_encoders_and_region_rows_stand_beside_each_other(tmp_path):
    torch.manual_seed(0)
    model = RegionTransformer(ViT(ViTConfig.named("mini")), RegionLayer(projection=16))
    save(model, tmp_path / "encoder")
    words = ["probe", "regions", "filters(size=96, fourier=0)", "--region-rows"]
    words += [str(tmp_path / "encoder"), "--data", "scenes(12, labels='colour')", "--seeds", "2"]
    words += ["--out", str(tmp_path / "out"), "--fewest", "2"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout.strip().splitlines()[-1])
    assert len(report["rows"]) == 9  # three probes of means, of patches, and of region rows
    assert all(row["low"] <= row["high"] for row in report["rows"])
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [len(row["splits"]) for row in results["rows"]] == [2] * 9
    with (tmp_path / "out/results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[0]["encoder"].startswith("filters(")
    assert float(table[0]["accuracy"]) > float(table[0]["chance"])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/rows").iterdir()}
    again = CliRunner().invoke(app, words)
    assert json.loads(again.stdout.strip().splitlines()[-1]) == report
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/rows").iterdir()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nothing"], "no such file or folder"),
        (["filters", "--probe", "svm"], "svm"),
        (["filters", "--test-share", "1"], "between 0 and 1"),
        ([], "name at least one encoder"),
    ],
)
def test_a_mistake_is_one_line(words, message, tmp_path):
    if "--data" in words:
        words = ["filters", *words]
    result = CliRunner().invoke(app, ["probe", "regions", *words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output

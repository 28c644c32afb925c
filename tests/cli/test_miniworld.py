"""`regiontok miniworld` as it is typed."""

from __future__ import annotations

from regiontok.cli import miniworld as module
from regiontok.jobs.miniworld.export import FORMATS
from samples.command_line import regiontok


def test_a_world_is_written_and_its_priors_are_told(tmp_path):
    words = ["--format", "mmvp", "--count", "2", "--size", "128"]
    result = regiontok("miniworld", tmp_path / "out", *words)
    assert result.exit_code == 0, result.output
    assert "percent right without looking" in result.output
    assert "2 pictures of test, 4 questions" in result.output
    assert result.report["priors"][0]["kind"] == "near_twins"
    assert len(list((tmp_path / "out/MMVP Images").iterdir())) == 4
    again = regiontok("miniworld", tmp_path / "out", *words)
    assert again.exit_code == 2
    assert "holds a world already" in again.stderr


def test_a_plan_writes_nothing(tmp_path):
    result = regiontok("miniworld", tmp_path / "out", "--count", "0", "--dry-run")
    assert result.report["pictures"] == 5000
    assert not (tmp_path / "out").exists()


def test_all_formats_are_completed():
    assert set(module._FORMATS) == set(FORMATS)

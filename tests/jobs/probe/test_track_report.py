"""What is reported of tracks: means over seeds, and RICE's rows beside whole test sets alone."""

from __future__ import annotations

from typing import Any

import pytest

from regiontok.cli.probe_tables import track_table
from regiontok.cli.terminal import print_tables
from regiontok.jobs.probe.track_report import mean_rows, published_beside
from regiontok.probe.track.clips import ClipSet


def test_rices_rows_stand_beside_a_whole_test_set(capsys: pytest.CaptureFixture[str]) -> None:
    lasot = ClipSet("lasot:LaSOT", (), {f"clip-{number}": "torn" for number in range(280)})
    rows = published_beside(lasot, "test")
    assert [row["encoder"] for row in rows] == ["DINOv2", "SigLIP", "MLCD", "RICE"]
    assert rows[-1]["scores"] == {
        "success": 60.24,
        "precision": 63.16,
        "normalised_precision": 69.66,
    }
    print_tables([track_table([], rows)])
    assert "60.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [("lasot:LaSOT", "test", 279), ("got10k:GOT-10k", "val", 180), ("davis:DAVIS", "all", 20)],
)
def test_other_clips_have_no_published_rows(name: str, split: str, count: int) -> None:
    clips = ClipSet(name, (), {f"clip-{number}": "torn" for number in range(count)})
    assert published_beside(clips, split) == []


def test_a_mean_over_seeds_has_its_lowest_and_highest() -> None:
    def row(seed: int, value: float) -> dict[str, Any]:
        return {"encoder": "lite", "seed": seed, "scores": {"ao": [value, value - 9, value + 9]}}

    (mean,) = mean_rows([row(0, 40.0), row(1, 46.0), row(2, 43.0)])
    assert mean == {"encoder": "lite", "seeds": 3, "scores": {"ao": [43.0, 40.0, 46.0]}}
    assert mean_rows([{"encoder": "lite", "seed": 0, "scores": {}}]) == []

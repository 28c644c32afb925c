"""`tokenize` with pictures decoded ahead: the same output in the same order, and a clean end."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.data.collect import collect
from regiontok.jobs.tokenize.images import Job, tokenize
from regiontok.settings.recipe import TokenizerSettings


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(
        np.random.default_rng(0).integers(0, 256, (7, 40, 50, 3), np.uint8)
    ):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def job():
    return Job(TokenizerSettings(encoder="filters(size=56)"), ["windows(4)"])


def summarised(done):
    """What became of each image, without times."""
    return [
        (
            outcome.item.name,
            outcome.error,
            outcome.report and [(s["spec"], s["tokens"]) for s in outcome.report["settings"]],
        )
        for outcome in done
    ]


@pytest.mark.parametrize(("workers", "batch"), [(1, 8), (4, 2), (3, 1)])
def test_workers_change_nothing_but_the_time(photos, job, tmp_path, workers, batch):
    items = collect([str(photos)])
    alone = summarised(
        tokenize(job, items, tmp_path / "alone", batch=batch, workers=0, picture=False)
    )
    outcomes = summarised(
        tokenize(job, items, tmp_path / "found", batch=batch, workers=workers, picture=False)
    )
    assert outcomes == alone
    assert [name for name, error, _ in outcomes if error] == ["3.png"]
    for name in ("0.png", "6.png"):
        first, second = (
            (tmp_path / out / name / "windows-4.safetensors").read_bytes()
            for out in ("alone", "found")
        )
        assert first == second
        key = json.loads((tmp_path / "found" / name / "report.json").read_text(encoding="utf-8"))[
            "key"
        ]
        assert key == Picture.of(photos / name).key


def test_a_run_that_is_left_early_leaves_whole_folders_and_no_thread(photos, job, tmp_path):
    run = tokenize(job, collect([str(photos)]), tmp_path / "out", batch=2, workers=2, picture=False)
    assert next(run).item.name == "0.png"
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]
    done = summarised(
        tokenize(
            job, collect([str(photos)]), tmp_path / "out", workers=2, resume=True, picture=False
        )
    )
    assert len(done) == 7


def test_the_report_counts_what_a_budget_leaves_out(tmp_path):
    settings = TokenizerSettings(encoder="filters(size=56)", segmenter="slic(4)", pool="select")
    job = Job(
        settings, ["segments(0)", "segments(0) | budget(9, policy='round_robin') | sort('area')"]
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    (done,) = tokenize(job, collect([str(tmp_path / "a.png")]), tmp_path / "out", picture=False)
    every, budgeted = done.report["settings"]
    assert budgeted["tokens"] == 9
    step = next(step for step in budgeted["steps"] if step["step"].startswith("budget"))
    assert step["left_out"] == {
        "rows": every["tokens"] - 9,
        "regions": every["regions"] - step["regions"],
    }
    assert every["tokens"] > 9
    assert [
        sorted(step) for step in budgeted["steps"] if not step["step"].startswith("budget")
    ] == [
        ["regions", "step", "uncovered"],
        ["masks", "regions", "step", "uncovered", "vanished"],
        ["regions", "step", "uncovered"],
    ]

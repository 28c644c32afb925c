"""All stages, killed at random moments: in the end the bytes of an undisturbed run."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time

import pytest

from regiontok.curate.steps import BarrierStep
from regiontok.jobs.curate import begin
from regiontok.shards.tar import write_tar
from samples.curation import photo

pytestmark = pytest.mark.slow
KILLS = 6
TRIES = 4 * KILLS  # runs of which so many are killed
PLAN = """
images = ["tars"]
piece = 2
[filter]
shorter_edge = 40
[propose]
segmenter = "slic(4)"
shorter_edge = 10
masks = true
[embed]
encoder = "filters(size=112, fourier=0)"
by = "dense"
size = 112
[cluster]
k = 3
top = 2
[ocr]
small_text = false
"""
fork = multiprocessing.get_context("fork")


@pytest.fixture
def plan(tmp_path):
    pytest.importorskip("rapidocr")
    (tmp_path / "tars").mkdir()
    for number, name in enumerate("abc"):
        files = [(f"{i}.jpg", photo(10 * number + i, (60, 80))) for i in range(4)]
        write_tar(tmp_path / "tars" / f"{name}.tar", files)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "plan.toml"


def curate(plan, out, workers):
    """All stages, from whatever is there to the end."""
    job = begin(plan, out)
    for stages in job.steps():
        if isinstance(stages, BarrierStep):
            stages.run(workers)
            continue
        errors = [outcome.error for outcome in job.run(stages, workers=workers) if outcome.error]
        assert not errors


def found(out):
    """All that counts by path: no hidden file, no time, no way it went."""
    files = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_dir() or path.name.startswith(".") or path.suffix == ".beat":
            continue
        if path.suffix == ".json":
            stated = json.loads(path.read_text())
            files[name] = {key: value for key, value in stated.items() if key != "seconds"}
        else:
            files[name] = path.read_bytes()
    return files


def test_killed_at_any_stage_the_pipeline_ends_at_the_bytes_of_an_undisturbed_run(plan, tmp_path):
    draw, begun = random.Random(4), time.monotonic()
    whole = ended(fork.Process(target=curate, args=(plan, tmp_path / "whole", 0)))
    assert whole == 0
    duration, kills, runs = time.monotonic() - begun, 0, 0
    for number in range(TRIES):
        if kills == KILLS:
            break
        process = fork.Process(target=curate, args=(plan, tmp_path / f"run{runs}", number % 2))
        process.start()
        process.join(draw.uniform(0.1, 0.5) * duration)
        kills += process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            assert found(tmp_path / f"run{runs}") == found(tmp_path / "whole")
            runs += 1
    assert kills == KILLS, "the runs were over before they could be killed"
    assert ended(fork.Process(target=curate, args=(plan, tmp_path / f"run{runs}", 0))) == 0
    assert found(tmp_path / f"run{runs}") == found(tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "a.assemble.json").read_text())["images"] == 4


def ended(process):
    process.start()
    process.join()
    return process.exitcode

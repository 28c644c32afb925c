"""Kills at random moments, a full disk, an image a million pixels wide."""

from __future__ import annotations

import errno
import io
import multiprocessing
import random
import signal
import subprocess
import time

import pytest
from PIL import Image

from regiontok.curate.duplicates import write_keep_list
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.run import run_pieces
from regiontok.curate.stage_files import read_rows
from regiontok.curate.tars import open_curation
from regiontok.curate.verify import verify
from regiontok.shards.tar import write_tar
from samples.curation import PLAN, KilledOnce, contents, filtered, many_tars, photo

KILLS = 24
fork = multiprocessing.get_context("fork")


def whole_run(tars, out, workers=0):
    """Filter and keep-list, from whatever is there to the end."""
    curation, stage, outcomes = filtered(tars, out, workers=workers)
    assert not [outcome for outcome in outcomes if outcome.error]
    write_keep_list(curation, stage, PLAN)


def visible(out):
    """What counts: killed processes may leave files under hidden names."""
    return {name: what for name, what in contents(out).items() if not name.startswith(".")}


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_at_the_bytes_of_an_undisturbed_one(tmp_path):
    tars, draw, kills, runs = many_tars(tmp_path / "tars"), random.Random(0), 0, 0
    begun = time.monotonic()
    whole_run(tars, tmp_path / "whole")
    duration = time.monotonic() - begun
    whole = visible(tmp_path / "whole")
    for _ in range(8 * KILLS):
        if kills == KILLS:
            break
        out = tmp_path / f"run{runs}"
        process = fork.Process(target=whole_run, args=(tars, out))
        process.start()
        process.join(draw.uniform(0, duration))
        kills += process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            assert visible(out) == whole
            runs += 1
    assert kills == KILLS, "the runs were over before they could be killed"
    out = tmp_path / f"run{runs}"
    whole_run(tars, out)
    assert visible(out) == whole
    curation = open_curation(out, [str(tars)], piece=2)
    assert [*verify(curation, [filter_stage(curation, PLAN)])] == []


@pytest.mark.slow
def test_workers_that_are_killed_at_random_moments_cost_nothing(tmp_path):
    tars, draw = many_tars(tmp_path / "tars"), random.Random(1)
    filtered(tars, tmp_path / "whole")
    curation = open_curation(tmp_path / "out", [str(tars)], piece=2)
    stage, kills = filter_stage(curation, PLAN), 0
    errors = []
    for outcome in run_pieces(stage, curation, FilterPiece(curation, PLAN), workers=2):
        errors.append(outcome.error)
        if kills < 3 and (children := multiprocessing.active_children()):
            time.sleep(draw.uniform(0, 0.05))
            draw.choice(children).kill()
            kills += 1
    assert (kills, errors) == (3, [None] * 30)
    assert visible(tmp_path / "out") == visible(tmp_path / "whole")


@pytest.mark.slow
def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    tars = many_tars(tmp_path / "tars")
    whole_run(tars, tmp_path / "whole")
    out, draw = tmp_path / "out", random.Random(2)
    for _ in range(3):
        for left_over in out.glob("pieces/*.beat"):  # of the round before: it says nothing of this
            left_over.unlink()
        process = fork.Process(target=whole_run, args=(tars, out, 2))
        process.start()
        while process.is_alive() and not [*out.glob("pieces/*.beat")]:
            time.sleep(0.005)
        assert process.is_alive(), f"it ended by itself, with {process.exitcode}"
        time.sleep(draw.uniform(0, 0.05))
        workers = children_of(process.pid)
        process.kill()
        process.join()
        deadline = time.monotonic() + 60
        while any(map(is_running, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(is_running, workers))
    whole_run(tars, out)
    assert visible(out) == visible(tmp_path / "whole")


def children_of(process):
    return [int(word) for word in open(f"/proc/{process}/task/{process}/children").read().split()]


def is_running(process):
    try:
        return open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_pieces_that_kill_their_worker_now_and_then_are_done_and_one_that_always_does_is_named(
    tmp_path,
):
    tars = many_tars(tmp_path / "tars")
    filtered(tars, tmp_path / "whole")
    curation = open_curation(tmp_path / "out", [str(tars)], piece=2)
    stage = filter_stage(curation, PLAN)
    outcomes = list(run_pieces(stage, curation, KilledOnce(curation, PLAN), workers=2))
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    assert (failed.name, len(outcomes)) == ("b, images 0 to 1", 30)
    assert failed.error == "kills the process that works on it, tried 3 times"
    filtered(tars, tmp_path / "out")
    assert visible(tmp_path / "out") == visible(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can be mounted by root only ({error})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # errors hold files open


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_run_and_leaves_whole_files(small_disk, tmp_path, workers):
    tars = many_tars(tmp_path / "tars")
    filtered(tars, tmp_path / "whole")
    out = small_disk / "out"
    curation = open_curation(out, [str(tars)], piece=2)
    run = run_pieces(filter_stage(curation, PLAN), curation, FilterPiece(curation, PLAN))
    for _ in range(8):
        next(run)
    run.close()
    fill(small_disk / "ballast")
    with pytest.raises(OSError, match="No space left on device") as caught:
        filtered(tars, out, workers=workers)
    assert caught.value.errno == errno.ENOSPC
    (small_disk / "ballast").unlink()
    filtered(tars, out)
    assert visible(out) == visible(tmp_path / "whole")


def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_very_wide_image_is_set_aside_and_those_around_it_are_not(tmp_path):
    stream = io.BytesIO()
    Image.new("1", (1_000_000, 100)).save(stream, "PNG")
    (tmp_path / "tars").mkdir()
    files = [("a.jpg", photo(1)), ("b.png", stream.getvalue()), ("c.jpg", photo(2))]
    write_tar(tmp_path / "tars" / "a.tar", files)
    curation, stage, outcomes = filtered(tmp_path / "tars", tmp_path / "out")
    assert [outcome.error for outcome in outcomes] == [None, None]
    rows = read_rows(stage, curation.out, curation.tars[0]).to_pylist()
    assert [bool(row["reason"]) for row in rows] == [False, True, False]
    assert "more than 89 million pixels" in rows[1]["reason"]


def test_an_error_that_nobody_expected_names_its_piece(tmp_path):
    class Faulty(FilterPiece):
        def __call__(self, piece):
            if piece.number == 1:
                raise ZeroDivisionError("float division")
            super().__call__(piece)

    tars = many_tars(tmp_path / "tars")
    curation = open_curation(tmp_path / "out", [str(tars)], piece=6)
    stage = filter_stage(curation, PLAN)
    outcomes = list(run_pieces(stage, curation, Faulty(curation, PLAN)))
    assert [outcome.error for outcome in outcomes[:3]] == [
        None,
        "ZeroDivisionError: float division",
        None,
    ]

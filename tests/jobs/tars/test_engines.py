"""Masks and tokens of tars by several processes, and by Ray: the same bytes as in this one."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time

import pytest

from regiontok.curate.engines.ray import ray_cluster
from regiontok.jobs.tars.job import open_tars
from regiontok.jobs.tars.masks import begin_masks
from regiontok.jobs.tars.tokens import TokenPlan, tokens_job
from regiontok.settings.recipe import TokenizerSettings
from samples.curation import contents, many_tars

pytestmark = pytest.mark.slow
ENCODER = "filters(size=112, fourier=0)"
PLAN = TokenPlan(TokenizerSettings(encoder=ENCODER).model_dump_json(), "windows(4)", batch=2)
KILLS = 4
fork = multiprocessing.get_context("fork")


def masks_of(tars, out):
    return begin_masks([str(tars)], "slic(4)", out, piece=4)


def tokens_of(tars, out):
    return tokens_job(open_tars([str(tars)], out, piece=4), PLAN)


@pytest.fixture
def tars(tmp_path):
    return many_tars(tmp_path / "tars")


def visible(out):
    return {name: what for name, what in contents(out).items() if not name.startswith(".")}


def finish(begun, tars, out, **options):
    assert not [outcome for outcome in begun(tars, out).run(**options) if outcome.error]


@pytest.mark.parametrize("begun", [masks_of, tokens_of])
def test_two_processes_that_are_killed_with_their_leader_give_the_same_bytes(begun, tars, tmp_path):
    finish(begun, tars, tmp_path / "whole")
    out, draw, kills = tmp_path / "out", random.Random(5), 0
    for _ in range(KILLS):
        process = fork.Process(target=finish, args=(begun, tars, out), kwargs={"workers": 2})
        process.start()
        while process.is_alive() and not [*out.glob("pieces/*.beat")]:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        kills += process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills > 0
    finish(begun, tars, out, workers=2)
    assert visible(out) == visible(tmp_path / "whole")


def test_ray_gives_the_same_bytes(tars, tmp_path):
    pytest.importorskip("ray")
    with ray_cluster(workers=2) as engine:
        for name, begun in (("masks", masks_of), ("tokens", tokens_of)):
            finish(begun, tars, tmp_path / name)
            finish(begun, tars, tmp_path / f"{name}_ray", engine=engine)
            assert visible(tmp_path / f"{name}_ray") == visible(tmp_path / name)

"""Ray does the pieces: the same bytes as here, kills cost nothing, and nothing of it stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import gettempdir

import pytest

from regiontok.curate.engines.ray import ray_cluster
from regiontok.curate.filter import filter_stage
from regiontok.curate.run import run_pieces
from regiontok.curate.sources import CurationError
from regiontok.curate.tars import open_curation
from samples.curation import PLAN, KilledOnce, contents, filtered, many_tars

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[2]
DRIVER = """
from pathlib import Path
import sys
from regiontok.curate.engines.ray import ray_cluster
from samples.curation import filtered
with ray_cluster(workers=2) as engine:
    filtered(Path(sys.argv[1]), Path(sys.argv[2]), engine=engine)
"""


@pytest.fixture
def tars(tmp_path):
    """Tars, and in `whole` what an undisturbed run in this process makes of them."""
    filtered(many_tars(tmp_path / "tars"), tmp_path / "whole")
    return tmp_path / "tars"


def visible(out):
    return {name: what for name, what in contents(out).items() if not name.startswith(".")}


def test_killed_workers_and_drivers_cost_nothing_and_the_bytes_are_those_of_one_process(
    tars, tmp_path, monkeypatch
):
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", paths)  # of Ray's workers, too
    out, handler = tmp_path / "out", signal.getsignal(signal.SIGTERM)
    driver = killed_driver(tars, out)
    curation = open_curation(out, [str(tars)], piece=2)
    stage = filter_stage(curation, PLAN)
    with ray_cluster(workers=2) as engine:
        (folder,) = Path(gettempdir()).glob(f"rt-{os.getpid()}-*")
        assert signal.getsignal(signal.SIGTERM) == handler
        homes = {home_of(process) for process in processes_of("dashboard/dashboard.py", folder)}
        assert homes == {str(folder)}, "it would ask the cloud's metadata service"
        outcomes = list(run_pieces(stage, curation, KilledOnce(curation, PLAN), engine=engine))
        (failed,) = [outcome for outcome in outcomes if outcome.error]
        assert failed.name == "b, images 0 to 1"
        assert "kills the process that works on it, tried 3 times" in failed.error
        assert len([*tmp_path.glob("*.tried")]) == 5, "workers were killed"
        filtered(tars, out, engine=engine)
    assert visible(out) == visible(tmp_path / "whole")
    assert not folder.exists()
    assert not [*Path(gettempdir()).glob(f"rt-{driver}-*")], "what the killed driver left is gone"
    assert "RAY_AUTH_TOKEN" not in os.environ


def killed_driver(tars, out):
    """Kill a driver at a random moment after its first piece has begun."""
    command = [sys.executable, "-c", DRIVER, str(tars), str(out)]
    driver = subprocess.Popen(command)
    while driver.poll() is None and not [*out.glob("pieces/*")]:
        time.sleep(0.01)
    time.sleep(random.Random(3).uniform(0, 0.05))
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    return driver.pid


def processes_of(script, folder):
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text()
        except OSError:
            continue
        if script in line and str(folder) in line:
            yield path.parent


def home_of(process):
    environment = (process / "environ").read_bytes().split(b"\0")
    (home,) = [entry for entry in environment if entry.startswith(b"HOME=")]
    return home.removeprefix(b"HOME=").decode()


def test_a_cluster_that_does_not_answer_is_one_clear_error():
    nobody = pytest.raises(CurationError, match="no Ray cluster answers at 127")
    with nobody, ray_cluster("127.0.0.1:1"):
        pass


def test_ctrl_c_ends_in_130_and_the_same_command_goes_on(tars, tmp_path):
    plan, out = tmp_path / "plan.toml", tmp_path / "out"
    plan.write_text('images = ["tars"]\npiece = 2\n[filter]\nshorter_edge = 40\n')
    command = [sys.executable, "-m", "regiontok", "curate", plan, "--out", out, "--until", "filter"]
    run = subprocess.Popen(
        [*command, "--engine", "ray", "--workers", "2"], stderr=subprocess.PIPE, text=True
    )
    while run.poll() is None and not [*out.glob("pieces/*.parquet")]:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    assert "the same command goes on" in run.communicate()[1]
    assert run.returncode == 130
    assert not [*Path(gettempdir()).glob(f"rt-{run.pid}-*")]
    subprocess.run(command, check=True)
    whole = visible(tmp_path / "whole")
    assert {name: visible(out)[name] for name in whole if name != "curation.json"} == {
        name: what for name, what in whole.items() if name != "curation.json"
    }

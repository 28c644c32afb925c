"""Resuming: a run that was stopped, killed or interrupted goes on to the last bit; another recipe
is refused."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from regiontok.runs.errors import OtherRun, RunStopped
from regiontok.settings.recipe import to_toml
from regiontok.system.weights import tensors_only
from regiontok.train.folder import TrainFolder
from samples.training import ALIGN, TUNE, losses, run_recipe, toy_recipe, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    run_recipe(toy_recipe(), out, held_out=2)
    return out


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of one stage with checkpoints of steps 2 and 3 of 4."""
    out = tmp_path_factory.mktemp("half") / "run"
    run_recipe(toy_recipe(ALIGN), out, held_out=2, stop_after=2)
    run_recipe(toy_recipe(ALIGN), out, held_out=2, stop_after=1, resume=True)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [6, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 3, 4, 7))]
)
def test_a_run_that_is_stopped_goes_on_to_the_last_bit(whole, tmp_path, steps):
    """In the first stage and in the second one (dropout, checkpointing, LoRA); between checkpoints,
    at one, at a stage's end."""
    out = tmp_path / "run"
    stopped = run_recipe(toy_recipe(), out, held_out=2, stop_after=steps)
    assert "go on with --resume" in stopped["stopped"]
    assert len(losses(out)) == steps
    assert run_recipe(toy_recipe(), out, held_out=2, resume=True)["stopped"] == ""
    assert losses(out) == losses(whole)
    for stage in ("1_align", "2_tune"):
        first, second = weights(whole / stage), weights(out / stage)
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_what_a_kill_left_half_written_is_no_checkpoint(whole, tmp_path):
    out = tmp_path / "run"
    run_recipe(toy_recipe(), out, held_out=2, stop_after=3)
    checkpoints = TrainFolder(out).checkpoints(0, "align")
    unfinished = checkpoints.staging / "checkpoint-4"
    unfinished.mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(b"half")
    with (out / "log.jsonl").open("a") as file:
        file.write('{"stage": 1, "kind": "step", "step": 4, "loss": 9.9, "grad_norm": 1.0}\n')
        file.write('{"stage": 1, "ki')
    assert list(checkpoints.by_step()) == [3]
    run_recipe(toy_recipe(), out, held_out=2, resume=True)
    assert losses(out) == losses(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "files.json"]
)
def test_without_one_of_its_files_a_checkpoint_is_set_aside_and_the_one_before_it_taken(
    whole, half, tmp_path, name
):
    out = shutil.copytree(half, tmp_path / "run")
    (out / ".checkpoints" / "1_align" / "checkpoint-3" / name).unlink()
    run_recipe(toy_recipe(ALIGN), out, held_out=2, resume=True)
    (note,) = [entry for entry in TrainFolder(out).entries() if entry["kind"] == "note"]
    assert "checkpoint-3 is no whole checkpoint" in note["text"]
    assert note["step"] == 2
    first, second = weights(whole / "1_align"), weights(out / "1_align")
    assert all(torch.equal(first[name], second[name]) for name in first)


class Executed:
    """Pickled, it is code that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_refused_and_never_run(half, tmp_path, name):
    """Whoever can write the checkpoint can write its list of files, too."""
    out = shutil.copytree(half, tmp_path / "run")
    checkpoints = TrainFolder(out).checkpoints(0, "align")
    staged = checkpoints.staging / "checkpoint-3"
    shutil.copytree(checkpoints.by_step()[3], staged)
    (staged / "files.json").unlink()
    (staged / name).write_bytes(pickle.dumps(Executed(tmp_path / "executed"), 2))
    checkpoints.publish(staged, 3)
    with pytest.raises(RunStopped, match=r"checkpoint-3 was not read: .*checkpoint-3.*and say"):
        run_recipe(toy_recipe(ALIGN), out, held_out=2, resume=True)
    assert not (tmp_path / "executed").exists()


def test_no_library_unpickles_a_checkpoint(tmp_path):
    """DeepSpeed loads with weights_only=False."""
    (tmp_path / "state.pt").write_bytes(pickle.dumps(Executed(tmp_path / "executed"), 2))
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "state.pt", weights_only=False)
    assert not (tmp_path / "executed").exists()


def test_another_recipe_or_a_full_folder_is_refused(whole, tmp_path):
    out = whole
    with pytest.raises(
        OtherRun,
        match=r"was begun with another setting: "
        r"there 'stage.0.learning_rate = 0.001', now 'stage.0.learning_rate = 0.5'",
    ):
        run_recipe(toy_recipe({**ALIGN, "learning_rate": 0.5}, TUNE), out, held_out=2, resume=True)
    with pytest.raises(OtherRun, match=r'"held_out": 2'):
        run_recipe(toy_recipe(), out, held_out=3, resume=True)
    with pytest.raises(ValueError, match="holds a run already: go on with --resume"):
        run_recipe(toy_recipe(), out, held_out=2)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    for resume in (False, True):
        with pytest.raises(ValueError, match="is not empty and holds no run"):
            run_recipe(toy_recipe(), tmp_path, resume=resume)
    done = run_recipe(toy_recipe(), out, held_out=2, resume=True)
    assert done == {"stages": {}, "stopped": "", "interrupted": False}


@pytest.mark.slow
def test_a_start_that_failed_before_its_first_step_blocks_nothing(tmp_path):
    """Another recipe starts in the same folder, and the log tells of this one only."""
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="longer than max_length=20"):
        run_recipe(toy_recipe({**ALIGN, "max_length": 20}), out)
    assert (out / "resolved.toml").exists()
    run_recipe(toy_recipe(ALIGN), out, stop_after=1)
    assert "max_length = 512" in (out / "resolved.toml").read_text()
    assert [entry["kind"] for entry in TrainFolder(out).entries()] == ["stage", "step"]
    with pytest.raises(ValueError, match="holds a run already"):
        run_recipe(toy_recipe(ALIGN), out)


CHILD = """
import sys
from regiontok.settings.recipe import load_recipe
from regiontok.train.options import TrainOptions
from regiontok.train.run import train
options = TrainOptions(device="cpu", save_every=3)
print(train(load_recipe(sys.argv[1]), sys.argv[2], options=options, resume=True)["stopped"])
"""


def child(path, out):
    """A run in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", CHILD, str(path), str(out)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def wait_for(out, steps):
    deadline = time.monotonic() + 120
    while len(losses(out)) < steps:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_last_bit(tmp_path):
    recipe = toy_recipe({**ALIGN, "steps": 40}, {**TUNE, "steps": 40})
    path = tmp_path / "toy.toml"
    path.write_text(to_toml(recipe))
    assert child(path, tmp_path / "whole").wait() == 0
    for steps in (11, 52):
        process = child(path, tmp_path / "run")
        wait_for(tmp_path / "run", steps)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert len(losses(tmp_path / "run")) < 80
    assert child(path, tmp_path / "run").wait() == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    first, second = weights(tmp_path / "whole" / "2_tune"), weights(tmp_path / "run" / "2_tune")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    recipe = toy_recipe({**ALIGN, "steps": 200})
    path = tmp_path / "toy.toml"
    path.write_text(to_toml(recipe))
    process = child(path, tmp_path / "run")
    wait_for(tmp_path / "run", 4)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    taken = len(losses(tmp_path / "run"))
    assert process.returncode == 0
    assert f"stage 'align' at step {taken}; go on with --resume" in said
    assert max(TrainFolder(tmp_path / "run").checkpoints(0, "align").by_step()) == taken < 200

"""The loop: stopped and killed runs go on bit by bit, and errors say what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from regiontok.probe.draws import random_at
from regiontok.probe.folder import OtherHead, ProbeFolder
from regiontok.probe.loop import Learner, train
from regiontok.probe.optimisation import Optimisation
from regiontok.probe.options import ProbeOptions
from regiontok.probe.schedule import Schedule
from regiontok.runs.errors import OtherRun, RunStopped
from regiontok.runs.folder import RunFolder

STEPS = 12
SETTINGS = {"encoder": {"spec": "lite", "weights": "abc"}}
OPTIMISATION = Optimisation(
    schedule=Schedule(STEPS, warmup=3, shape="cosine"),
    rate=0.05,
    decay=0.1,
    clip=1.0,
    batches=2,
    factors=(("0", 0.5),),
)


def learner(bad_step: int = -1, pause: float = 0.0) -> Learner:
    """A small network with dropout and batch norm, which both would show a lost state."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    module[3].bias.requires_grad_(False)

    def batch_at(number: int) -> torch.Tensor:
        time.sleep(pause)
        rows = torch.from_numpy(random_at(5, number).normal(size=(6, 4))).float()
        return rows * (float("nan") if number == 2 * bad_step else 1)

    def loss_of(module: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        error = module(rows)[:, 0] - rows.sum(1)
        return {"square": error.square().mean(), "noise": torch.rand(()) * error.abs().mean()}

    return Learner(name="toy", module=module, batch_at=batch_at, loss_of=loss_of)


def run(folder: Path, *, resume: bool = False, pause: float = 0.0, **options) -> dict:
    return train(
        learner(pause=pause),
        OPTIMISATION,
        ProbeFolder(folder),
        settings=SETTINGS,
        options=ProbeOptions(device="cpu", **options),
        resume=resume,
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All that two equal runs have in common: the log, and the last checkpoint's files."""
    last = folder / "checkpoints" / f"step-{STEPS}"
    files = [folder / "log.jsonl", *sorted(last.iterdir())]
    kept = {file.name: file.read_bytes() for file in files}
    lines = kept["log.jsonl"].splitlines()
    kept["log.jsonl"] = b"\n".join(line for line in lines if b'"step"' in line and b"loss" in line)
    return kept


def test_a_run_that_was_stopped_goes_on_bit_by_bit(tmp_path):
    assert run(tmp_path / "whole")["stopped"] == ""
    first = run(tmp_path / "parts", stop_after=5)
    assert first["stopped"] == "after step 5 of 12; go on with --resume"
    torch.manual_seed(99)  # a global state must not matter
    second = run(tmp_path / "parts", resume=True, save_every=2, workers=2)
    assert second["step"] == STEPS
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "parts")
    assert run(tmp_path / "parts", resume=True) == second  # nothing is left to do


def test_steps_behind_the_last_checkpoint_are_taken_again(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", stop_after=7, save_every=4)
    (tmp_path / "parts" / "checkpoints" / "step-7" / "learned.safetensors").unlink()
    run(tmp_path / "parts", resume=True)
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "parts")
    notes = [e for e in RunFolder(tmp_path / "parts").entries() if e["kind"] == "note"]
    assert "learned.safetensors is missing; it is now damaged-step-7" in notes[0]["text"]


def test_a_loss_that_is_not_finite_is_named_and_its_step_is_not_taken(tmp_path):
    folder = ProbeFolder(tmp_path / "run")
    with pytest.raises(RunStopped, match=r"step 5 is not taken: square nan, noise nan is not fin"):
        train(
            learner(bad_step=4),
            OPTIMISATION,
            folder,
            settings=SETTINGS,
            options=ProbeOptions(device="cpu", save_every=2),
        )
    assert list(folder.checkpoints().by_step()) == [2, 4]
    assert [e["step"] for e in folder.entries() if e["kind"] == "step"] == [1, 2, 3, 4]


def test_a_run_of_another_encoder_or_another_head_is_refused(tmp_path):
    run(tmp_path / "run", stop_after=1)
    with pytest.raises(ValueError, match="holds a run already: go on with --resume"):
        run(tmp_path / "run")
    folder, other = ProbeFolder(tmp_path / "run"), {"encoder": {"spec": "lite", "weights": "xyz"}}
    with pytest.raises(OtherRun, match=r'encoder.weights was "abc" there and is "xyz" now'):
        train(learner(), OPTIMISATION, folder, settings=other, resume=True)
    with pytest.raises(OtherHead, match=r"0.weight has shape \[8, 4\] there and \[8, 5\] here"):
        folder.load(nn.Sequential(nn.Linear(5, 8), *list(learner().module)[1:]))
    with pytest.raises(OtherHead, match="only the file has"):
        folder.load(nn.Linear(4, 8))


def test_only_what_learns_is_kept_and_groups_have_their_own_rates(tmp_path):
    from safetensors.torch import load_file

    run(tmp_path / "run", stop_after=1)
    names = set(load_file(tmp_path / "run" / "checkpoints" / "step-1" / "learned.safetensors"))
    assert "3.bias" not in names
    assert {"0.weight", "1.running_mean", "3.weight"} <= names
    optimizer = OPTIMISATION.optimizer(learner().module)
    OPTIMISATION.set_rate(optimizer, 3)
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups] == [
        (0.025, 0.1, 1),
        (0.025, 0.0, 1),
        (0.05, 0.0, 2),
        (0.05, 0.1, 1),
    ]


def test_the_losses_of_a_step_are_logged_by_name(tmp_path):
    run(tmp_path / "run", stop_after=2)
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    step = entries[1]
    assert step["loss"] == pytest.approx(step["square"] + step["noise"])
    assert step["rate"] == 0.0
    assert entries[0] == {"kind": "stage", "step": 0, "name": "toy", "first": 0, "steps": STEPS}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_goes_on_bit_by_bit(tmp_path):
    run(tmp_path / "whole")
    killed, kills = tmp_path / "killed", 0
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from test_loop import run; "
        "run(pathlib.Path(sys.argv[2]), resume=True, save_every=2, pause=0.1)"
    )
    while not (killed / "checkpoints" / f"step-{STEPS}").is_dir():
        process = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), killed])
        first, began = steps_in(killed), time.monotonic()
        while process.poll() is None and time.monotonic() - began < 300:
            if kills < 3 and steps_in(killed) >= first + 3:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        assert process.wait(timeout=300) in (0, -signal.SIGKILL)
    assert kills == 3
    assert bytes_of(tmp_path / "whole") == bytes_of(killed)


@pytest.mark.slow
def test_two_processes_share_the_batches_of_a_step_and_learn_the_same(tmp_path):
    from safetensors.torch import load_file

    run(tmp_path / "one")
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from test_loop import run; "
        "run(pathlib.Path(sys.argv[2]))"
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(Path(__file__).parent), tmp_path / "two"],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    one, two = (
        load_file(tmp_path / name / "checkpoints" / f"step-{STEPS}" / "learned.safetensors")
        for name in ("one", "two")
    )
    for name in ("0.weight", "0.bias", "1.weight", "3.weight"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


def steps_in(folder: Path) -> int:
    """Steps in a run's log."""
    log = folder / "log.jsonl"
    return log.read_text().count('"kind": "step"') if log.exists() else 0

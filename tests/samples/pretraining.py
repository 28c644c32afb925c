"""A small recipe of pretraining, run in another process, or in several by torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECIPE = """
what = "A small one for tests"
[pretrain]
regions = 4
precision = "fp32"
[[pretrain.data]]
shards = "scenes(64, size=64, words=True)"
[pretrain.object]
classes = 64
[pretrain.text]
positives = 4
[pretrain.loss]
rho = 0.5
[[pretrain.stage]]
name = "low"
size = 32
steps = 6
batch = 12
warmup = 2
[[pretrain.stage]]
name = "high"
size = [32, 64]
steps = 4
batch = 6
learning_rate = 1e-4
[pretrain.evaluate]
shards = "scenes(16, start=100000, size=64)"
every = 4
"""
SCRIPT = """
import sys
from pathlib import Path
from regiontok.jobs.pretrain import pretrain
from regiontok.pretrain.options import PretrainOptions
recipe, out, cache, *words = sys.argv[1:]
options = PretrainOptions(
    device="cpu", save_every=2, cache=cache, shard="--shard" in words, workers="--workers" in words
)
overrides = [word for word in words if "=" in word]
pretrain(recipe, Path(out), options=options, overrides=overrides, resume="--resume" in words)
"""
TIMES = ("images_per_second", "peak_share")


def recipe_file(folder: Path) -> Path:
    """Write the recipe into a folder."""
    path = folder / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def command(folder: Path, out: Path, *words: str, ranks: int = 1) -> list[str]:
    """The words that start a run in `ranks` processes; generated data are shared below `folder`."""
    script = folder / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    paths = map(str, (script, recipe_file(folder), out, folder / "cache"))
    return [*start, *paths, *words]


def run(folder: Path, out: Path, *words: str, ranks: int = 1) -> None:
    """Start a run and wait for its end."""
    done = subprocess.run(
        command(folder, out, *words, ranks=ranks),
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def kill_after(folder: Path, out: Path, steps: int, *, ranks: int = 1) -> None:
    """Start a run, and kill all its processes as soon as the log has so many steps."""
    with _started(folder, out, steps, ranks):
        pass


def interrupt_after(
    folder: Path, out: Path, steps: int, *words: str, ranks: int = 1, by: int = signal.SIGINT
) -> None:
    """Start a run, signal all its processes as soon as the log has so many steps, and wait.

    A terminal signals a whole group of processes in the same way.
    """
    with _started(folder, out, steps, ranks, *words) as process:
        os.killpg(process.pid, by)
        process.wait(timeout=120)


@contextmanager
def _started(
    folder: Path, out: Path, steps: int, ranks: int, *words: str
) -> Iterator[subprocess.Popen]:
    """A run that has taken so many steps; none of its processes is left afterwards."""
    process = subprocess.Popen(
        command(folder, out, *words, ranks=ranks),
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group of its own: the whole of it is this run
    )
    try:
        until = time.monotonic() + 240
        while len(steps_of(out)) < steps:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "no progress"
            time.sleep(0.002)
        yield process
    finally:
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def _children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(word) for word in listing.read_text().split()] if listing.exists() else []
    return [*children, *(deeper for child in children for deeper in _children(child))]


def steps_of(out: Path) -> list[dict]:
    """The steps and evaluations of a run's log, without times; a last line cut off is left out."""
    log = out / "log.jsonl"
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    entries = [json.loads(line) for line in lines]
    return [
        {key: value for key, value in entry.items() if key not in TIMES}
        for entry in entries
        if entry["kind"] in ("step", "eval")
    ]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}

"""Several processes that answer one benchmark, started as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from regiontok.evaluation.answers import read_answers
from regiontok.jobs.answer.ranks import Ranks
from samples.bench_folders import write_bench

SCRIPT = """
import json, os, sys, time
from pathlib import Path
from regiontok.conversation import BatchAnswer
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.jobs.answer.run import AnswerCounts, answer

class Quick:
    def answers(self, conversations, pictures, **options):
        return [BatchAnswer("Yes", (4,), (((28, 28),),)) for _ in pictures]

plan = AnswerPlan.of(AnswerOptions(model="x", bench="mme", data=Path(sys.argv[1]), batch=2))
ranks = Ranks.of_environment()
with ranks.joined():
    time.sleep(0 if ranks.rank else 1)  # the others come first
    counts = answer(plan, Path(sys.argv[2]), resume=len(sys.argv) > 3, ranks=ranks, model=Quick())
    counts = AnswerCounts.of_all(ranks, counts)
if ranks.rank == 0:
    print(json.dumps([counts.answered, counts.resumed]))
"""


def launch(*words):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *map(str, words),
    ]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = Ranks.of_environment()
    with ranks.joined():
        assert (ranks, ranks.gathered(3)) == (Ranks(0, 1, 0), [3])
        assert ranks.first_before_others(lambda: "begun") == "begun"


@pytest.mark.slow
def test_processes_share_a_run_whoever_comes_first(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    data, out = write_bench("mme", tmp_path / "mme"), tmp_path / "run"
    run = launch(script, data, out)
    assert run.returncode == 0, run.stderr[-2000:]
    answers = read_answers(out)
    assert json.loads(run.stdout.splitlines()[-1]) == [len(answers.answers), 0]
    assert (answers.head["processes"], answers.repeated) == (2, 0)
    assert len(answers.answers) == answers.head["questions"]
    again = launch(script, data, out)
    assert "holds answers already" in again.stderr
    resumed = launch(script, data, out, "--resume")
    assert json.loads(resumed.stdout.splitlines()[-1]) == [0, len(answers.answers)]

"""A process that is killed while it answers, and the one that goes on after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from regiontok.conversation import BatchAnswer
from regiontok.evaluation.answers import read_answers
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer
from regiontok.system.lease import FolderInUse
from samples.bench_folders import write_bench

SCRIPT = """
import sys, time
from pathlib import Path
from regiontok.conversation import BatchAnswer
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer

class Stuck:
    batches = 0
    def answers(self, conversations, pictures, **options):
        Stuck.batches += 1
        if Stuck.batches > 2:
            time.sleep(600)
        return [BatchAnswer("Yes", (4,), (((28, 28),),)) for _ in pictures]

plan = AnswerPlan.of(AnswerOptions(model="x", bench="mme", data=Path(sys.argv[1]), batch=2))
answer(plan, Path(sys.argv[2]), model=Stuck())
"""


class Quick:
    """A model that answers at once."""

    def answers(self, conversations, pictures, **options):
        return [BatchAnswer("Yes", (4,), (((28, 28),),)) for _ in pictures]


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    data, out = write_bench("mme", tmp_path / "mme"), tmp_path / "run"
    plan = AnswerPlan.of(AnswerOptions(model="x", bench="mme", data=data, batch=2))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(data), str(out)])
    try:
        path, deadline = out / "answers.jsonl", time.monotonic() + 240
        while not path.exists() or path.read_text().count("\n") < 5:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(FolderInUse, match="is being written by process"):
            answer(plan, out, resume=True, model=Quick())
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(read_answers(out).answers) == 4
    counts = answer(plan, out, resume=True, model=Quick())
    assert (counts.answered, counts.resumed) == (24, 4)
    run = read_answers(out)
    assert (len(run.answers), run.damaged, run.repeated) == (28, 0, 0)

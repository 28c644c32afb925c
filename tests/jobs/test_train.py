"""`regiontok train` as it is called from Python: by name, with overrides; its plan as tables."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from regiontok.cli.progress import follow
from regiontok.cli.run_tables import training_line, training_tables
from regiontok.jobs.train import plan_training, train
from regiontok.train.options import TrainOptions

FEW = ["every_stage.steps=2", "every_stage.batch=2"]


@pytest.mark.slow
def test_a_shipped_recipe_trains_by_its_name(tmp_path):
    entries = []
    result = train(
        "train/colour",
        tmp_path / "run",
        overrides=FEW,
        options=TrainOptions(device="cpu", held_out=2),
        tell=entries.append,
    )
    assert result["stages"]["colour"]["step"] == 2
    assert "what = " in (tmp_path / "run" / "recipe.toml").read_text()
    assert "steps = 2" in (tmp_path / "run" / "resolved.toml").read_text()
    lines = [training_line(entry) for entry in entries]
    assert lines[0].startswith(
        "stage 1 colour: 2 steps, batch 1 x 2 x 1, "
        "learns connector 40,448, language_model 320,352; 2 set aside"
    )
    assert lines[1].startswith("step 1  loss ")
    assert lines[-1].startswith("done at step 2  seconds ")
    logged = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert (
        [entry["kind"] for entry in logged]
        == [entry["kind"] for entry in entries]
        == ["stage", "step", "step", "eval", "done"]
    )


def test_the_plan_is_three_tables_and_writes_nothing(tmp_path):
    plans = plan_training("train/colour", on="h100x2", samples=8)
    console = Console(width=160, record=True)
    for table in training_tables(plans, "h100x2"):
        console.print(table)
    text = console.export_text()
    assert ["colour", "language_model", "320,352", "320,352"] in [
        line.split() for line in text.splitlines()
    ]
    assert "16 = 2 x 8 x 1" in text
    assert plans[0].visual == 4.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"recipe_name": "train/color"}, "did you mean 'train/colour'"),
        ({"recipe_name": "quick/cluster"}, "nothing to train"),
        (
            {"options": TrainOptions(tracker="tensorbord")},
            "unknown tracker 'tensorbord' .*'tensorboard'",
        ),
        ({"overrides": ["stage.batch=3"]}, "stage"),
        ({"overrides": ["every_stage.max_length=20"]}, "longer than max_length=20"),
    ],
)
def test_mistakes_are_said(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        train(**{"recipe_name": "train/colour", "out": tmp_path / "run", **words})
    assert not (tmp_path / "run" / "1_colour").exists()


def test_a_bar_a_stage_and_sparse_lines_where_nobody_watches():
    terminal = StringIO()
    with Progress(console=Console(file=terminal, width=200)) as bar:
        tell = follow(bar, training_line)
        parts = {"connector": (5, 5)}
        tell(
            {
                "kind": "stage",
                "stage": 1,
                "name": "first",
                "step": 0,
                "steps": 40,
                "parts": parts,
                "set_aside": {},
                "processes": 1,
                "per_device": 4,
                "accumulate": 1,
            }
        )
        for step in range(1, 41):
            tell({"kind": "step", "step": step, "loss": 1 / step, "learning_rate": 1e-3})
        (task,) = bar.tasks
        assert (task.completed, task.total) == (40, 40)
        assert task.description == "first loss 0.0250"
    lines = [line for line in terminal.getvalue().splitlines() if line.startswith("step ")]
    assert len(lines) == 20
    assert lines[0] == "step 2  loss 0.5000  rate 1.00e-03"

"""A run's numbers in a tracker: TensorBoard's own files, and what trackio and wandb are told."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from regiontok.runs.trackers import open_tracker

ENTRIES = [
    {"kind": "stage", "step": 0, "steps": 4},
    {"kind": "step", "step": 1, "stage": "low", "loss": 2.0, "norm": float("nan")},
    {"kind": "eval", "step": 1, "knn": 0.5, "distances": [1.0]},
]


def test_tensorboard_has_the_curves_of_steps_and_evaluations(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = open_tracker("tensorboard", tmp_path, start=0, config={})
    for entry in ENTRIES:
        tracker.record(entry)
    tracker.close()
    read = events.EventAccumulator(str(tmp_path / "tensorboard" / "pretrain"))
    read.Reload()
    assert read.Tags()["scalars"] == ["step/loss", "eval/knn"]
    assert [(event.step, event.value) for event in read.Scalars("eval/knn")] == [(1, 0.5)]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackio_and_wandb_go_on_with_a_run(tmp_path, monkeypatch, name):
    calls: list = []
    module = SimpleNamespace(
        init=lambda **words: calls.append(words),
        log=lambda values, step: calls.append((values, step)),
        finish=lambda: calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, name, module)
    tracker = open_tracker(name, tmp_path, start=3, config={"seed": 1})
    for entry in ENTRIES:
        tracker.record(entry)
    tracker.close()
    begun, *shown, end = calls
    assert (begun["resume"], begun["config"]) == ("allow", {"seed": 1})
    assert ("id" in begun) == (name == "wandb")
    assert shown == [({"step/loss": 2.0}, 1), ({"eval/knn": 0.5}, 1)]
    assert end == "finish"


def test_no_tracker_shows_nothing(tmp_path):
    tracker = open_tracker("", tmp_path, start=0, config={})
    for entry in ENTRIES:
        tracker.record(entry)
    tracker.close()
    assert not list(tmp_path.iterdir())

"""The curves of a training run; those of pretraining are in test_pretrain.py."""

from __future__ import annotations

import pytest

from regiontok.jobs import curves as job

LOG = [
    {"stage": 1, "kind": "stage", "step": 0, "name": "alignment"},
    {"stage": 1, "kind": "step", "step": 1, "loss": 4.0, "learning_rate": 1e-3},
    {"stage": 1, "kind": "step", "step": 2, "loss": 3.0, "learning_rate": 1e-3},
    {"stage": 1, "kind": "done", "step": 2, "loss": 3.5},
    {"stage": 2, "kind": "stage", "step": 0, "name": "tuning"},
    {"stage": 2, "kind": "step", "step": 1, "loss": 2.0, "learning_rate": 1e-3},
    {"stage": 2, "kind": "eval", "step": 1, "eval_loss": 2.5, "eval_exact_match": 0.5},
    {"stage": 2, "kind": "stage", "step": 1, "name": "tuning"},  # the run was resumed
    {"stage": 2, "kind": "step", "step": 2, "loss": 1.0, "learning_rate": 1e-3},
]


@pytest.fixture
def drawn(monkeypatch):
    """The panels and the titles that are drawn."""
    calls = []
    monkeypatch.setattr(
        job, "draw_panels", lambda panels, **titles: calls.append((list(panels), titles))
    )
    return calls


def test_stages_stand_one_behind_the_other(drawn):
    job.curves(LOG, "mine")
    ((loss, exact), titles) = drawn[0]
    assert titles == {"title": "Training: mine", "subtitle": "4 steps"}
    points = {line.name: (line.x, line.y) for line in loss.lines}
    assert points == {
        "loss of alignment": ((1, 2), (4.0, 3.0)),
        "loss of tuning": ((3, 4), (2.0, 1.0)),
        "loss held out": ((3.0,), (2.5,)),
    }
    assert [line.y for line in exact.lines] == [(0.5,)]


def test_without_evaluations_there_is_one_panel(drawn):
    job.curves([entry for entry in LOG if entry["kind"] != "eval"], "mine")
    assert [panel.title for panel in drawn[0][0]] == ["Loss"]

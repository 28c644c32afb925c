"""A run goes on with another plan for the steps to come, and with nothing else changed."""

from __future__ import annotations

import pytest

from regiontok.pretrain.going_on import resumable_changes
from regiontok.runs.same_recipe import differences
from regiontok.settings.recipe import Recipe, resolve

LOW = {"name": "low", "size": 32, "steps": 6, "batch": 12, "warmup": 2}
HIGH = {"name": "high", "size": 64, "steps": 4, "batch": 6}


def recipe(*stages: dict, **pretrain) -> Recipe:
    table = {
        "data": [{"shards": "s"}],
        "object": {"classes": 9},
        "stage": list(stages) or [LOW, HIGH],
    }
    return resolve({"what": "test", "pretrain": table | pretrain}, name="toy")


def refused(now: Recipe, steps_taken: int) -> list[str]:
    begun = recipe()
    changes = differences(begun, now)
    assert changes
    allowed = resumable_changes(changes, begun.pretrain, now.pretrain, steps_taken)
    return [change.key for change in changes if change not in allowed]


@pytest.mark.parametrize(
    ("now", "steps_taken", "expected"),
    [
        (recipe(LOW | {"learning_rate": 0.5}, HIGH), 3, []),
        (recipe(LOW | {"steps": 9, "warmup": 1}, HIGH), 3, []),
        (recipe(LOW | {"steps": 9}, HIGH), 6, []),
        (recipe(LOW, HIGH | {"size": 96, "batch": 3}, HIGH | {"name": "more"}), 6, []),
        (recipe(LOW, HIGH | {"steps": 8}), 10, []),
        (recipe(LOW | {"steps": 2}, HIGH), 3, ["pretrain.stage.0.steps"]),
        (recipe(LOW | {"steps": 9}, HIGH), 7, ["pretrain.stage.0.steps"]),
        (recipe(LOW | {"batch": 6}, HIGH), 3, ["pretrain.stage.0.batch"]),
        (recipe(evaluate={"shards": "t", "every": 3}), 3, []),
        (recipe(text={"classes": 256}), 3, []),
        (recipe(object=False, text={"classes": 256}), 3, []),
        (recipe(object={"classes": 8}), 3, ["pretrain.object.classes"]),
        (recipe(seed=1, text={"classes": 256}), 3, ["pretrain.seed"]),
    ],
)
def test_what_is_behind_stays_and_what_comes_may_change(now, steps_taken, expected):
    assert refused(now, steps_taken) == expected


def test_false_leaves_a_head_out():
    assert recipe(text=False).pretrain.text is None

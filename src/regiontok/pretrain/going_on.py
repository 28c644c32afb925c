"""With which changes of its recipe a pretraining run may go on.

A run may go on with another plan for the steps to come. What it has seen and learnt stays as it is:
samples, sizes and steps of what is behind it, the encoder, and the classes of its heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from regiontok.runs.same_recipe import Difference
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage

# Fields of a stage under way that may change: how long it is, and its learning rate.
PLAN = ("steps", "samples", "learning_rate", "warmup", "schedule", "power", "final")
# Other settings that may change at any step.
FREE = ("pretrain.evaluate.", "pretrain.spikes.", "pretrain.optimizer.centre_rate")


def resumable_changes(
    changes: Sequence[Difference], begun: Pretrain, now: Pretrain, steps_taken: int
) -> list[Difference]:
    """Those of the changes with which a run can go on.

    They are: the evaluation; what becomes of spikes; the learning rates; steps, samples and
    schedule of stages that are not done, if no fewer than were taken; all of the stages to come;
    and a head that is added or left out.

    Args:
        changes: what differs between the two recipes.
        begun: the `[pretrain]` table with which the run was begun.
        now: the one with which it is to go on.
        steps_taken: steps that the last checkpoint has behind it.
    """
    new_or_gone = [
        name
        for name, old, new in (
            ("object", begun.object, now.object),
            ("text", begun.text, now.text),
        )
        if (old is None) != (new is None)
    ]
    heads = re.compile(rf"pretrain\.({'|'.join(new_or_gone) or '-'})(\..*)?")
    stages_fit = _stages_fit(begun.stage, now.stage, steps_taken)
    return [
        change
        for change in changes
        if change.key.startswith(FREE)
        or heads.fullmatch(change.key)
        or (stages_fit and change.key.startswith("pretrain.stage."))
    ]


def _stages_fit(
    begun: Sequence[PretrainStage], now: Sequence[PretrainStage], steps_taken: int
) -> bool:
    """Whether the steps that were taken are the same steps in both lists of stages."""
    for index, old in enumerate(begun):
        if steps_taken <= 0:
            return True
        if index >= len(now):
            return False
        new = now[index]
        plan = set(PLAN)
        if old.model_dump(exclude=plan) != new.model_dump(exclude=plan):
            return False
        is_behind = steps_taken > old.length  # a step of the next one was taken
        if new.length < steps_taken if not is_behind else new.length != old.length:
            return False
        steps_taken -= old.length
    return True

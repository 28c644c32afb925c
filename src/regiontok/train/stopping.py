"""How a stage ends before its last step: by a limit, by Ctrl-C, by want of memory."""

from __future__ import annotations

import threading
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback

from regiontok.settings.recipe import Stage
from regiontok.train.batching import Division


class StopAfter(TrainerCallback):
    """Ends training with a checkpoint, after so many steps of this call or when a flag is set.

    Attributes:
        steps_left: steps that may still be taken; None is no limit.
        flag: set when training shall end behind its current step.
        stopped: whether a stage was ended before its last step.
    """

    def __init__(self, steps: int | None, flag: threading.Event) -> None:
        self.steps_left, self.flag, self.stopped = steps, flag, False

    @property
    def is_due(self) -> bool:
        """True if no further step shall be taken."""
        return self.steps_left == 0 or self.flag.is_set()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, unless the stage is done anyway."""
        if self.steps_left is not None:
            self.steps_left -= 1
        # Ctrl-C reaches processes at different steps: all of them stop at the same one
        if _in_any_process(self.flag.is_set()):
            self.flag.set()
        if self.is_due and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = self.stopped = True


def _in_any_process(condition: bool) -> bool:
    """True in every process if the condition holds in one of them."""
    state = PartialState()
    if state.num_processes == 1:
        return condition
    return bool(reduce(torch.tensor(float(condition), device=state.device), "sum") > 0)


def memory_advice(stage: Stage, division: Division) -> str:
    """What a user can lower when memory is out, cheapest first."""
    ways = []
    if division.per_device > 1:
        ways.append(
            f"--per-device {division.per_device // 2} (now {division.per_device}; "
            f"the batch of {division.batch} stays, in more passes)"
        )
    if not stage.checkpointing:
        ways.append(
            "every_stage.checkpointing=true (activations are computed twice, a third more time)"
        )
    if "language_model" in stage.train and stage.lora is None:
        ways.append(
            "LoRA in the stage, or accelerate's fsdp2.yaml or zero3.yaml over several devices"
        )
    ways.append(f"max_length (now {stage.max_length}) or fewer visual tokens, merge(k=...)")
    return "; ".join(ways)

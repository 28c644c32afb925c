"""How a stage ends before its last step: by a limit, by Ctrl-C, by want of memory."""

from __future__ import annotations

import threading
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback

from regiontok.settings.recipe import Stage
from regiontok.system.errors import RegiontokError
from regiontok.train.batching import Division


class TrainingStopped(RegiontokError, ValueError):
    """Training ended before its last step; the message says why, and how to go on."""


class StopAfter(TrainerCallback):
    """Ends training with a checkpoint: after so many steps of this session, or when `flag` is
    set."""

    def __init__(self, steps: int | None, flag: threading.Event) -> None:
        self.left, self.flag, self.stopped = steps, flag, False

    @property
    def due(self) -> bool:
        """True if no further step shall be taken."""
        return self.left == 0 or self.flag.is_set()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, unless the stage is done anyway."""
        self.left = None if self.left is None else self.left - 1
        if _anywhere(
            self.flag.is_set()
        ):  # Ctrl-C reaches processes at different steps: all stop at the same one
            self.flag.set()
        if self.due and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = self.stopped = True


def _anywhere(here: bool) -> bool:
    """True if it is so in any process."""
    state = PartialState()
    if state.num_processes == 1:
        return here
    return bool(reduce(torch.tensor(float(here), device=state.device), "sum") > 0)


def out_of_memory(error: BaseException) -> bool:
    """True if a device or the host had no memory left."""
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "out of memory" in str(error).lower()
    )


def what_to_lower(stage: Stage, division: Division) -> str:
    """What a user lowers when memory is out, cheapest first."""
    ways = []
    if division.each > 1:
        ways.append(
            f"--per-device {division.each // 2} (now {division.each}; the batch of {division.batch} stays, in more passes)"
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

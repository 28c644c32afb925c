"""What a run is told beside its recipe: where and how it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """What is not of the recipe: where and how it runs.

    Attributes:
        per_device: samples of one pass on a device; 0: what fits by the formulas of `plan` (on a
            CPU at most 16).
        save_every: steps between checkpoints; keep: how many stay.
        held_out: records kept back for evaluation.
        evaluate_every: steps between evaluations; 0: at the end of each stage.
        answers: held-out records that are answered greedily.
        workers: processes that load data, for each training process.
        log: "", "tensorboard", "trackio" or "wandb", beside the own log.
        cache: folder for frozen features; "": none.
        stop_after: steps of this call, then a checkpoint; for queues with a time limit.
        device: "auto", or "cpu".
    """

    per_device: int = 0
    save_every: int = 500
    keep: int = 2
    held_out: int = 0
    evaluate_every: int = 0
    answers: int = 64
    workers: int = 0
    log: str = ""
    cache: str = ""
    stop_after: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("per_device", "held_out", "evaluate_every", "answers", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, not {getattr(self, name)}")
        for name in ("save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ValueError(f"stop_after is at least 1, not {self.stop_after}")
        if self.evaluate_every and not self.held_out:
            raise ValueError(
                "evaluation needs records that are held out: say --held-out 64, or no --evaluate-every"
            )

    @property
    def of_the_result(self) -> dict[str, Any]:
        """Those that decide what is learned: a resumed run has the same."""
        return {"held_out": self.held_out}

"""The options of training: those of any run, and how it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regiontok.runs.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Where and how a recipe's stages are trained.

    With `per_device` 0 a pass holds what fits by the formulas of `regiontok.train.estimate`, or 16
    samples at most on a CPU. `cache` holds features of the frozen encoder; "" encodes afresh.
    `shard` needs a launcher that divides the weights, such as accelerate with fsdp2.yaml.

    Attributes:
        held_out: records that are kept from training, for evaluation.
        evaluate_every: steps between evaluations; 0 evaluates at the end of each stage.
        answers: held-out records that are answered greedily.
        tracker: "tensorboard", "trackio" or "wandb", beside the run's own log; "" is none.
    """

    held_out: int = 0
    evaluate_every: int = 0
    answers: int = 64
    tracker: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least(0, "held_out", "evaluate_every", "answers")
        if self.evaluate_every and not self.held_out:
            raise ValueError(
                "evaluation needs records that are held out: "
                "say --held-out 64, or no --evaluate-every"
            )

    @property
    def decisive(self) -> dict[str, Any]:
        """The options that decide what is learned: a resumed run must have the same ones."""
        return {"held_out": self.held_out}

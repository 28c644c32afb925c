"""The learning rate of a step, as a share of the highest one: warm-up, then a named shape.

After: detectron2's multi-step schedules, OSTrack's single drop, LISA's linear decay.
Differs: nothing known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "drops", "linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """What share of its highest value the learning rate has, as a function of the step alone.

    Attributes:
        steps: steps of the whole training.
        warmup: steps of the linear rise; the step after them has the highest rate.
        warmup_from: share with which the rise begins, that of step 0.
        shape: what follows the rise: "constant"; "drops", times `drop_factor` at each of `drops`;
            "linear" and "cosine" fall to `final` with the last step.
        drops: steps at which the rate drops.
        drop_factor: what it is multiplied with there.
        final: share at the end of "linear" and "cosine".

    Raises:
        ValueError: If there is no step, the warm-up does not end before the last step, or a drop
            lies behind it.

    >>> two_drops = Schedule(9, shape="drops", drops=(6, 8), warmup=2, warmup_from=0.0)
    >>> [round(two_drops.share(step), 3) for step in range(9)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01]
    >>> [round(Schedule(4, shape="linear").share(step), 3) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    steps: int
    warmup: int = 0
    warmup_from: float = 0.0
    shape: Shape = "constant"
    drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a training has at least one step, not {self.steps}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(
                f"a warm-up of {self.warmup} steps does not end within {self.steps} steps"
            )
        if late := [drop for drop in self.drops if not 0 < drop < self.steps]:
            raise ValueError(f"the rate drops at steps {late}, but there are {self.steps} steps")

    def share(self, step: int) -> float:
        """The share of the highest learning rate that a step has; steps are counted from 0."""
        if step < self.warmup:
            return self.warmup_from + (1 - self.warmup_from) * step / self.warmup
        if self.shape == "drops":
            return self.drop_factor ** sum(step >= drop for drop in self.drops)
        progress = (step - self.warmup) / (self.steps - self.warmup)
        if self.shape == "linear":
            return self.final + (1 - self.final) * (1 - progress)
        if self.shape == "cosine":
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
        return 1.0

"""Which stage, which samples and which learning rate a step has: functions of the step alone.

After: RICE, section 4.1 (row R8: stages of growing resolution, the later ones at a tenth of the
learning rate).
Differs: warm-up and decay are not in the text; each stage has its own. "polynomial" is the closed
form; the authors' scheduler multiplies half of it in, step by step, and so falls more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from regiontok.settings.pretrain_recipe import PretrainStage


@dataclass(frozen=True)
class Timeline:
    """Stages one after the other.

    Attributes:
        stages: the stages of a recipe.

    Raises:
        ValueError: If a stage has no step, two have one name, or a warm-up does not end within its
            stage.

    >>> low = PretrainStage(name="a", steps=3, batch=4)
    >>> timeline = Timeline([low, PretrainStage(name="b", steps=2, batch=2)])
    >>> [timeline.locate(step) for step in range(5)]
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    >>> [timeline.first_sample(step) for step in range(6)]
    [0, 4, 8, 12, 14, 16]
    """

    stages: Sequence[PretrainStage]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages have different names, not {names}")
        for stage in self.stages:
            if not stage.length:
                raise ValueError(
                    f"stage {stage.name!r} has no step: {stage.samples} samples in batches of "
                    f"{stage.batch}; give steps or more samples"
                )
            if stage.warmup_steps >= stage.length:
                raise ValueError(
                    f"stage {stage.name!r}: a warm-up of {stage.warmup_steps} does not end within "
                    f"its {stage.length} steps"
                )

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.length for stage in self.stages)

    def locate(self, step: int) -> tuple[int, int]:
        """The stage of a step, and the step's number within it."""
        for index, stage in enumerate(self.stages):
            if step < stage.length:
                return index, step
            step -= stage.length
        raise ValueError("behind the last step")

    def stage_of(self, step: int) -> PretrainStage:
        """The stage of a step."""
        return self.stages[self.locate(step)[0]]

    def first_step(self, index: int) -> int:
        """The first step of a stage."""
        return sum(stage.length for stage in self.stages[:index])

    def first_sample(self, step: int) -> int:
        """Where the samples of a step begin in the endless stream, which goes on through stages."""
        samples = 0
        for stage in self.stages:
            taken = min(step, stage.length)
            samples, step = samples + taken * stage.batch, step - taken
        return samples

    def samples_of(self, step: int) -> range:
        """The samples of a step in the endless stream."""
        first = self.first_sample(step)
        return range(first, first + self.stage_of(step).batch)

    def rate(self, step: int) -> float:
        """The learning rate of a step.

        >>> stage = PretrainStage(
        ...     name="a", steps=6, learning_rate=1.0, warmup=2, schedule="linear", final=0.0
        ... )
        >>> [round(Timeline([stage]).rate(step), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        index, step = self.locate(step)
        stage = self.stages[index]
        warmup = stage.warmup_steps
        if step < warmup:
            return stage.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / (stage.length - warmup)
        if stage.schedule == "constant":
            return stage.learning_rate
        if stage.schedule == "cosine":
            share = (1 + math.cos(math.pi * progress)) / 2
        else:
            share = (1 - progress) ** (stage.power if stage.schedule == "polynomial" else 1)
        return stage.learning_rate * (stage.final + (1 - stage.final) * share)

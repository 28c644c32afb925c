"""Which stage, which samples and which learning rate a step has: all of it a function of the step
alone.

After: RICE, section 4.1 (row R8: stages of growing resolution, the later ones at a tenth of the
learning rate).
Differs: warm-up and decay are not in the text; each stage has its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from regiontok.settings.pretrain_recipe import PretrainStage


@dataclass(frozen=True)
class Timeline:
    """Stages one after the other.

    Args:
        stages: of a recipe.

    Raises:
        ValueError: a stage without a step, two of one name, or a warm-up that does not end within
            its stage.

    >>> stages = [PretrainStage(name="a", steps=3, batch=4), PretrainStage(name="b", steps=2, batch=2)]
    >>> [Timeline(stages).at(step) for step in range(5)]
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    >>> [Timeline(stages).first_sample(step) for step in range(6)]
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
                    f"stage {stage.name!r} has no step: {stage.samples} samples in batches of {stage.batch}; give steps or more samples"
                )
            if stage.warmup >= stage.length:
                raise ValueError(
                    f"stage {stage.name!r}: a warm-up of {stage.warmup} does not end within its {stage.length} steps"
                )

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.length for stage in self.stages)

    def at(self, step: int) -> tuple[int, int]:
        """(stage, step within it)."""
        for index, stage in enumerate(self.stages):
            if step < stage.length:
                return index, step
            step -= stage.length
        raise ValueError("behind the last step")

    def start(self, index: int) -> int:
        """The first step of a stage."""
        return sum(stage.length for stage in self.stages[:index])

    def first_sample(self, step: int) -> int:
        """Where in the endless stream the samples of a step begin: the stream goes on through the
        stages."""
        samples = 0
        for stage in self.stages:
            done = min(step, stage.length)
            samples, step = samples + done * stage.batch, step - done
        return samples

    def rate(self, step: int) -> float:
        """The learning rate of a step.

        >>> stage = PretrainStage(name="a", steps=6, learning_rate=1.0, warmup=2, schedule="linear", final=0.0)
        >>> [round(Timeline([stage]).rate(step), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        index, own = self.at(step)
        stage = self.stages[index]
        if own < stage.warmup:
            return stage.learning_rate * (own + 1) / stage.warmup
        gone = (own - stage.warmup) / (stage.length - stage.warmup)
        share = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}[
            stage.schedule
        ]
        low = stage.final if stage.schedule != "constant" else 1.0
        return stage.learning_rate * (low + (1 - low) * share)


@dataclass(frozen=True)
class Positions:
    """This rank's positions in the stream, step by step: a batch sampler of `DataLoader`.

    A rank's samples lie together, so that gathered over ranks they stand as one process would have
    them.

    >>> stages = [PretrainStage(name="a", steps=3, batch=4)]
    >>> [list(Positions(Timeline(stages), 1, 3, rank, 2)) for rank in range(2)]
    [[[4, 5], [8, 9]], [[6, 7], [10, 11]]]
    """

    timeline: Timeline
    start: int
    stop: int
    rank: int = 0
    ranks: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            own = self.timeline.stages[self.timeline.at(step)[0]].batch // self.ranks
            first = self.timeline.first_sample(step) + self.rank * own
            yield list(range(first, first + own))

    def __len__(self) -> int:
        return self.stop - self.start

"""Schedules by name: how long, how fast, on which batches, and what is done to the pictures.

After: detectron2's `1x` and `3x` (COCO: 90,000 and 270,000 steps of 16 pictures, SGD, two drops);
ViTDet's large-scale jitter (`lsj`: 184,375 steps of 64 pictures, AdamW, scales 0.1 to 2).
Differs: RICE names no schedule for row R11, so these are choices. detectron2 draws the shortest
edge from 640 to 800 pixels; a frozen encoder has one canvas, so that `1x` and `3x` only flip
pictures. `mini` is ours, for generated scenes on one core: its features are cached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from regiontok.probe.optimisation import Optimisation
from regiontok.probe.schedule import Schedule
from regiontok.system.choices import check_choice

Augmentation = Literal["none", "flip", "jitter"]


@dataclass(frozen=True, kw_only=True)
class DetectionSchedule:
    """How a detector is trained.

    Attributes:
        optimisation: the optimiser and its schedule.
        batch: pictures of a step.
        augmentation: "none"; "flip", every second picture mirrored; "jitter", flipped, scaled by
            0.1 to 2 and cut or padded to the canvas.
        sizes: sizes of the heads, a name of `regiontok.probe.detect.sizes.SIZES`.
    """

    optimisation: Optimisation
    batch: int
    augmentation: Augmentation
    sizes: str = "paper"


def _detectron2(steps: int, drops: tuple[int, int]) -> DetectionSchedule:
    schedule = Schedule(steps, warmup=1000, warmup_from=0.001, shape="drops", drops=drops)
    return DetectionSchedule(
        optimisation=Optimisation(
            schedule=schedule, rate=0.02, kind="sgd", decay=1e-4, decay_vectors=True
        ),
        batch=16,
        augmentation="flip",
    )


SCHEDULES = {
    "1x": _detectron2(90_000, (60_000, 80_000)),
    "3x": _detectron2(270_000, (210_000, 250_000)),
    "lsj": DetectionSchedule(
        optimisation=Optimisation(
            schedule=Schedule(
                184_375,
                warmup=250,
                warmup_from=0.001,
                shape="drops",
                drops=(163_889, 177_546),
            ),
            rate=1e-4,
            decay=0.1,
        ),
        batch=64,
        augmentation="jitter",
    ),
    "mini": DetectionSchedule(
        optimisation=Optimisation(
            schedule=Schedule(400, warmup=20, shape="linear"), rate=2e-3, decay=0.05, clip=5.0
        ),
        batch=4,
        augmentation="none",
        sizes="mini",
    ),
}


def detection_schedule(
    name: str, *, seed: int = 0, steps: int = 0, batch: int = 0, per_device: int = 0
) -> DetectionSchedule:
    """A schedule by its name, made shorter or longer where that is asked for.

    Args:
        name: a name of `SCHEDULES`.
        seed: seed of weights, order and draws.
        steps: steps instead of the schedule's; warm-up and drops keep their places in proportion.
        batch: pictures of a step instead of the schedule's; the learning rate follows in proportion
            (for AdamW as its square root).
        per_device: pictures that go through a device at once; 0 takes the whole batch. Several
            processes share the parts of a batch.

    Raises:
        ValueError: If there is no such schedule, or `per_device` does not divide the batch.
    """
    check_choice("schedule", name, tuple(SCHEDULES))
    chosen = SCHEDULES[name]
    optimisation, size = replace(chosen.optimisation, seed=seed), batch or chosen.batch
    if steps:
        optimisation = replace(optimisation, schedule=_stretched(optimisation.schedule, steps))
    if batch:
        power = 1.0 if optimisation.kind == "sgd" else 0.5
        optimisation = replace(
            optimisation, rate=optimisation.rate * (batch / chosen.batch) ** power
        )
    if per_device:
        if size % per_device:
            raise ValueError(
                f"{per_device} pictures a device do not divide the batch of {size}; choose one of "
                f"{', '.join(str(n) for n in range(1, size + 1) if size % n == 0)}"
            )
        optimisation = replace(optimisation, batches=size // per_device)
    return replace(chosen, optimisation=optimisation, batch=size)


def _stretched(schedule: Schedule, steps: int) -> Schedule:
    """The same schedule over another number of steps."""
    factor = steps / schedule.steps
    return replace(
        schedule,
        steps=steps,
        warmup=int(schedule.warmup * factor),
        drops=tuple(max(1, round(drop * factor)) for drop in schedule.drops) if steps > 1 else (),
    )

"""The job of `regiontok train`: a recipe's stages, one after the other, or the plan of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from regiontok.runs.trackers import check_tracker
from regiontok.settings.recipe import load_recipe
from regiontok.settings.shipped import find_recipe
from regiontok.system.hardware import hardware
from regiontok.train import run
from regiontok.train.options import TrainOptions
from regiontok.train.plan import StagePlan, plan_run


def train(
    recipe_name: str,
    out: str | Path,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: TrainOptions | None = None,
    resume: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Train a recipe, given by its name or path; see `regiontok.train.run.train`.

    Raises:
        ValueError: If the recipe or the tracker is unknown, or the recipe cannot be trained.
    """
    options = options or TrainOptions()
    check_tracker(options.tracker)
    path = find_recipe(recipe_name)
    return run.train(
        load_recipe(path, scale=scale, overrides=overrides),
        Path(out),
        options=options,
        resume=resume,
        recipe_text=path.read_text(encoding="utf-8"),
        tell=tell,
    )


def plan_training(
    recipe_name: str,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: TrainOptions | None = None,
    on: str = "h100",
    samples: int = 256,
) -> list[StagePlan]:
    """What training a recipe would take on named hardware; nothing is loaded or written.

    Raises:
        ValueError: If the recipe or the hardware is unknown, or records cannot be read.
    """
    recipe = load_recipe(recipe_name, scale=scale, overrides=overrides)
    return plan_run(recipe, options or TrainOptions(), hardware(on), samples=samples)

"""The job of `regiontok pretrain`: region cluster discrimination stage by stage, or its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from regiontok.jobs.curves import write_curves
from regiontok.pretrain import run
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.plan import PretrainPlan, plan_stages
from regiontok.settings.recipe import load_recipe
from regiontok.settings.shipped import find_recipe
from regiontok.system.hardware import hardware, peak_of


def pretrain(
    recipe_name: str,
    out: str | Path,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: PretrainOptions | None = None,
    resume: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Pretrain a recipe, given by its name or path; see `regiontok.pretrain.run.pretrain`.

    Raises:
        ValueError: If the recipe is unknown, or cannot be trained.
    """
    path = find_recipe(recipe_name)
    options = options or PretrainOptions()
    if not options.peak and options.device != "cpu" and torch.cuda.is_available():
        options = replace(options, peak=peak_of(torch.cuda.get_device_name()))
    return run.pretrain(
        load_recipe(path, scale=scale, overrides=overrides),
        Path(out),
        options=options,
        resume=resume,
        recipe_text=path.read_text(encoding="utf-8"),
        tell=tell,
    )


def plan_pretraining(
    recipe_name: str,
    *,
    scale: str = "paper",
    overrides: Sequence[str] = (),
    options: PretrainOptions | None = None,
    on: str = "h100x64",
) -> list[PretrainPlan]:
    """What pretraining a recipe would take on named hardware; nothing is loaded or written.

    Raises:
        ValueError: If the recipe or the hardware is unknown, or the recipe has no `[pretrain]`.
    """
    recipe = load_recipe(recipe_name, scale=scale, overrides=overrides)
    if recipe.pretrain is None:
        raise ValueError(
            f"{recipe.name} has no [pretrain]: nothing to plan; "
            "`regiontok train --dry-run` plans [[stage]]s"
        )
    options = options or PretrainOptions()
    return plan_stages(
        recipe.pretrain, hardware(on), shard=options.shard, per_device=options.per_device
    )


def draw_run(out: str | Path, steps: int) -> str:
    """Draw a run's log anew.

    Args:
        out: the run's folder.
        steps: steps that were taken.

    Returns:
        The picture's path; "" before the first step, or without matplotlib.
    """
    if not steps or find_spec("matplotlib") is None:
        return ""
    return str(write_curves(out))

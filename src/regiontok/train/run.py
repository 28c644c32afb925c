"""A whole run: stages one after the other; stopped at any moment, it goes on exactly.

After: diagnostic study, appendix E.2 (row D13: connector, then connector and language model);
OG-LLaVA, section 5.3.1 (row O4).
Differs: any number of stages.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState

from regiontok.runs.provenance import provenance
from regiontok.runs.trackers import check_tracker
from regiontok.settings.recipe import Recipe
from regiontok.system.interrupt import interruptible
from regiontok.system.lease import folder_lease
from regiontok.train.build import (
    BuiltModel,
    build_model,
    check_stages,
    language_model_commit,
    model_settings,
)
from regiontok.train.folder import TrainFolder
from regiontok.train.options import TrainOptions
from regiontok.train.parts import is_divided_by_launcher
from regiontok.train.stage_run import StageRun, load_stage_model
from regiontok.train.stopping import StopAfter


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    options: TrainOptions | None = None,
    resume: bool = False,
    recipe_text: str = "",
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Train all stages of a recipe.

    Args:
        recipe: the recipe, resolved at its scale.
        out: the run's folder.
        options: where and how the run is carried out.
        resume: go on with the run in `out`; it must be of the same recipe.
        recipe_text: the recipe's text as it was read, to be stored with the run.
        tell: called with every entry of the log, in the first process.

    Returns:
        `stages`, the metrics of each stage that this call finished; `stopped`, why the run ended
        early, or ""; and `interrupted`, whether Ctrl-C or SIGTERM ended it.

    Raises:
        ValueError: If the recipe cannot be trained, the folder holds another run, or the device is
            not there.
        FolderInUse: If another process trains in the folder.
        RunStopped: If the loss is not finite, memory is out, or the disk is full.
    """
    options = options or TrainOptions()
    check_stages(recipe)
    _check_options(options)
    if is_divided_by_launcher() and any(stage.average for stage in recipe.stage):
        raise ValueError("average is of weights that every process holds: take ddp.yaml")
    rank = PartialState(cpu=options.device == "cpu").process_index
    with folder_lease(Path(out), rank=rank):
        return _train_in(
            TrainFolder(Path(out)),
            recipe,
            options=options,
            resume=resume,
            recipe_text=recipe_text,
            tell=tell,
        )


def _train_in(
    folder: TrainFolder,
    recipe: Recipe,
    *,
    options: TrainOptions,
    resume: bool,
    recipe_text: str,
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """`train` in a folder in which no other process trains."""
    is_first = PartialState().is_main_process
    if is_first:  # the others would meet what it has just written
        folder.begin(recipe, recipe_text, resume=resume, decisive_options=options.decisive)
    PartialState().wait_for_everyone()
    finished = [
        path
        for index, stage in enumerate(recipe.stage)
        if (path := folder.stage_model(index, stage.name)).is_dir()
    ]
    built = load_stage_model(recipe, finished[-1]) if finished else build_model(recipe)
    if is_first:
        folder.add_start(_provenance(recipe, built))

    def stage_run(index: int, built: BuiltModel) -> StageRun:
        return StageRun(
            recipe, index, built, folder=folder, options=options, is_first=is_first, tell=tell
        )

    with interruptible() as flag:
        stop = StopAfter(options.stop_after, flag)
        metrics, stopped = _train_stages(recipe, len(finished), built, stage_run, stop)
    return {
        "stages": metrics,
        "stopped": stopped,
        "interrupted": bool(stopped) and flag.is_set(),
    }


def _train_stages(
    recipe: Recipe,
    start: int,
    built: BuiltModel,
    stage_run: Callable[[int, BuiltModel], StageRun],
    stop: StopAfter,
) -> tuple[dict[str, Any], str]:
    """Train the stages one after the other, from stage `start` on.

    Returns:
        The metrics of each stage that was finished, and why training ended early, or "".
    """
    metrics: dict[str, Any] = {}
    for index in range(start, len(recipe.stage)):
        name = recipe.stage[index].name
        run = stage_run(index, built)
        stage_metrics = run.train(stop)
        if stop.stopped:
            step = stage_metrics["step"]
            return metrics, f"stage {name!r} at step {step}; go on with --resume"
        metrics[name], built = stage_metrics, run.built
        if stop.is_due and index + 1 < len(recipe.stage):
            return metrics, f"after stage {name!r}; go on with --resume"
    return metrics, ""


def _check_options(options: TrainOptions) -> None:
    """Raise if the tracker, the device or the launcher that divides weights is not there."""
    check_tracker(options.tracker)
    options.check_device()
    if options.shard and not is_divided_by_launcher():
        raise ValueError(
            "shard: the launcher divides the weights of `regiontok train`; start it by "
            "`accelerate launch --config_file .../regiontok/train/configs/fsdp2.yaml` "
            "(or zero3.yaml), or leave --shard out"
        )


def _provenance(recipe: Recipe, built: BuiltModel) -> dict[str, Any]:
    """What this start of the run started from."""
    stage_seeds = {stage.name: stage.seed for stage in recipe.stage}
    return provenance(
        recipe,
        processes=PartialState().num_processes,
        seeds={"tokenizer": recipe.tokenizer.seed, **stage_seeds},
        weights={
            "encoder": built.model.config.visual_identity,
            "language_model": model_settings(recipe).language_model,
            "revision": model_settings(recipe).revision or "",
            "commit": language_model_commit(recipe),
        },
    )

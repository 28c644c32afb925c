"""A whole run: stages one after the other, from any checkpoint on; stopped, it goes on exactly.

After: RICE, section 4.1 (rows R7, R8).
Differs: stages go on in one stream of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regiontok.pretrain.build import build_learner, class_heads, region_layer, vit_config
from regiontok.pretrain.checkpoint import CLASSES_OF, Checkpoints
from regiontok.pretrain.folder import PretrainFolder
from regiontok.pretrain.loop import Loop
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.ranks import Ranks, join_ranks
from regiontok.pretrain.schedule import Timeline
from regiontok.pretrain.sources import source_folder
from regiontok.pretrain.start_centres import start_centres
from regiontok.runs.provenance import provenance
from regiontok.runs.trackers import check_tracker, open_tracker
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.settings.recipe import Recipe
from regiontok.system.interrupt import interruptible
from regiontok.system.lease import folder_lease


def pretrain(
    recipe: Recipe,
    out: str | Path,
    *,
    options: PretrainOptions | None = None,
    resume: bool = False,
    recipe_text: str = "",
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Pretrain a recipe's region transformer and its class centres.

    Args:
        recipe: the recipe, resolved at its scale, with a `[pretrain]` table.
        out: the run's folder.
        options: where and how the run is carried out.
        resume: go on with the run in `out`, with any number of processes; it must be of the same
            recipe but for what `pretrain.going_on` allows.
        recipe_text: the recipe's text as it was read, to be stored with the run.
        tell: called with every entry of the log, in the first process.

    Returns:
        `step`; `stopped`, why the run ended early, or ""; `interrupted`, whether Ctrl-C or SIGTERM
        ended it. If this call finished the run also `loss`, the mean of the last 20 steps, and the
        last evaluation.

    Raises:
        OtherCentres: If a head cannot start at its `centres`.
        ValueError: If the recipe has no `[pretrain]` or cannot be trained, the folder holds another
            run, or the device is not there.
        FolderInUse: If another process pretrains in the folder.
        RunStopped: If the loss is not finite, or the disk is full.
        ShardError: If a shard is missing or damaged, and `options.skip` is not set.
    """
    table = recipe.pretrain
    if table is None:
        raise ValueError(
            f"{recipe.name} has no [pretrain]: nothing to pretrain; "
            "`regiontok train` trains [[stage]]s"
        )
    options = options or PretrainOptions()
    options.check_device()
    check_tracker(options.tracker)
    joined = join_ranks(options.device, timeout=options.timeout)
    with joined as ranks, folder_lease(Path(out), rank=ranks.rank):
        return _pretrain_in(
            PretrainFolder(Path(out)),
            recipe,
            ranks=ranks,
            options=options,
            resume=resume,
            recipe_text=recipe_text,
            tell=tell,
        )


def _pretrain_in(
    folder: PretrainFolder,
    recipe: Recipe,
    *,
    ranks: Ranks,
    options: PretrainOptions,
    resume: bool,
    recipe_text: str,
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """`pretrain` in a folder in which no other run pretrains."""
    table = recipe.pretrain
    assert table is not None
    notes: list[str] = []
    if ranks.is_first:  # the others would meet what it has just written
        changes = folder.begin(
            recipe, recipe_text, resume=resume, decisive_options=options.decisive
        )
        damaged = folder.checkpoints().set_aside_damaged()
        notes = [*damaged, *(f"changed setting: {change}" for change in changes)]
    ranks.wait()
    learner = build_learner(
        table, ranks, shard=options.shard, compile_blocks=options.compile_blocks
    )
    checkpoints = Checkpoints(folder.checkpoints(keep=options.keep), ranks, _shapes(table))
    start, saved_heads = checkpoints.load_last(learner.state()) if resume else (0, frozenset[str]())
    notes += start_centres(table, learner, without=saved_heads)
    cache = Path(options.cache) if options.cache else folder.path / "data"
    if ranks.is_first:
        _write_sources(table, cache)
        folder.add_start(_provenance(recipe, ranks, start))
        folder.rewind_to(start)
        for text in notes:
            note = {"kind": "note", "step": start, "text": text}
            folder.record(note)
            tell(note)
    ranks.wait()
    tracker = open_tracker(
        options.tracker if ranks.is_first else "",
        folder.path,
        start=start,
        config=table.model_dump(),
    )
    # a terminal and torchrun both signal every rank, so several of them mean no more than one
    with interruptible(insist=ranks.world == 1) as flag:
        loop = Loop(
            table=table,
            folder=folder,
            options=options,
            ranks=ranks,
            learner=learner,
            checkpoints=checkpoints,
            timeline=Timeline(table.stage),
            cache=cache,
            tracker=tracker,
            tell=tell,
            flag=flag,
        )
        try:
            return loop.run(start)
        finally:
            tracker.close()


def _shapes(table: Pretrain) -> dict[str, Any]:
    """What must be the same for a checkpoint to fit."""
    return {
        "vit": asdict(vit_config(table)),
        "region": asdict(region_layer(table)),
        **{f"{CLASSES_OF}{head.name}": head.classes for head in class_heads(table)},
    }


def _write_sources(table: Pretrain, cache: Path) -> None:
    """Write the generated sources, so that the other ranks find them."""
    for source in table.data:
        source_folder(source.shards, cache)
    if table.evaluate.shards:
        source_folder(table.evaluate.shards, cache)


def _provenance(recipe: Recipe, ranks: Ranks, start: int) -> dict[str, Any]:
    """What this start of the run started from."""
    assert recipe.pretrain is not None
    seeds = {"pretrain": recipe.pretrain.seed}
    return provenance(recipe, processes=ranks.world, seeds=seeds, step=start)

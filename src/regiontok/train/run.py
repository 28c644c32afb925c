"""A whole run: stages one after the other, each carried on from the one before; stopped at any
moment, it goes on exactly.

After: diagnostic study, section 4 (row D13: connector, then connector and language model);
OG-LLaVA, section 5.1 (row O4).
Differs: any number of stages.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState

from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Recipe, Stage
from regiontok.system.files import replacing
from regiontok.system.interrupt import interruptible
from regiontok.train.batching import Division, Order, divide
from regiontok.train.build import (
    Built,
    build,
    choose,
    counts,
    is_half,
    merged,
    merged_state,
    settings_of,
    tokenizer_for,
)
from regiontok.train.evaluate import evaluate
from regiontok.train.feed import Feed, feed
from regiontok.train.folder import RunFolder, provenance, steps_kept
from regiontok.train.options import Options
from regiontok.train.plan import most_samples
from regiontok.train.stopping import StopAfter, TrainingStopped, out_of_memory, what_to_lower
from regiontok.train.trackers import trackers
from regiontok.train.trainer import StageTrainer

EACH_CPU = 16


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    options: Options | None = None,
    resume: bool = False,
    given: str = "",
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Train all stages; returns the metrics of each that is done, and `stopped`: why it ended
    early, or "".

    Args:
        recipe: resolved at its scale.
        out: the run's folder.
        options: see `Options`.
        resume: go on with what stands in `out`; it must be of the same recipe.
        given: the recipe's text as it was read, to be kept.
        tell: called with every entry of the log, in the first process.

    Raises:
        ValueError: a recipe that cannot be trained; a folder that holds another run; training that
            ran into NaN or out of memory.
    """
    options = options or Options()
    settings_of(recipe)
    first = PartialState(cpu=options.device == "cpu").is_main_process
    folder = RunFolder(Path(out))
    if first:  # the others would meet what it has just written
        folder.begin(recipe, given, options.of_the_result, resume=resume)
    PartialState().wait_for_everyone()
    done = [
        index
        for index, stage in enumerate(recipe.stage)
        if folder.stage(index, stage.name).is_dir()
    ]
    start = len(done)
    built = (
        reload(recipe, folder.stage(start - 1, recipe.stage[start - 1].name))
        if start
        else build(recipe)
    )
    if first:
        weights = {
            "encoder": built.model.config.visual_identity,
            "language_model": settings_of(recipe).language_model,
        }
        folder.note("provenance.json", provenance(recipe, weights))
    session = _Session(recipe, folder, options, tell if first else lambda entry: None, first)
    results: dict[str, Any] = {}
    with interruptible() as flag:
        stop = StopAfter(options.stop_after, flag)
        for index in range(start, len(recipe.stage)):
            built, found = session.stage(built, index, stop)
            if stop.stopped:
                name = recipe.stage[index].name
                return {
                    "stages": results,
                    "stopped": f"stage {name!r} at step {found['step']}; go on with --resume",
                }
            results[recipe.stage[index].name] = found
            if stop.due and index + 1 < len(recipe.stage):
                return {
                    "stages": results,
                    "stopped": f"after stage {recipe.stage[index].name!r}; go on with --resume",
                }
    return {"stages": results, "stopped": ""}


def reload(recipe: Recipe, folder: Path) -> Built:
    """The model that a stage left behind."""
    model = RegionVLM.from_pretrained(folder, dtype=torch.float32)
    if is_half(recipe):
        model.language_model.to(torch.bfloat16)
    return Built(model, tokenizer_for(settings_of(recipe)))


@dataclass(frozen=True)
class _Session:
    recipe: Recipe
    folder: RunFolder
    options: Options
    tell: Callable[[dict[str, Any]], None]
    first: bool

    def stage(self, built: Built, index: int, stop: StopAfter) -> tuple[Built, dict[str, Any]]:
        """Train one stage and save it."""
        stage, started = self.recipe.stage[index], time.perf_counter()
        for state in (
            AcceleratorState,
            GradientState,
        ):  # a stage may have another precision than the one before
            state._reset_state()
        world = PartialState().num_processes
        rows = self._feed(built, stage)
        model = choose(built.model, stage)
        division = divide(stage.batch, world=world, largest=self._largest(model, stage, rows))
        checkpoints = self.folder.checkpoints(index, stage.name)
        kept = steps_kept(checkpoints)
        step = max(kept, default=0)
        if self.first:
            self.folder.rewind(index, step)
        self._record(
            index,
            {
                "kind": "stage",
                "step": step,
                "name": stage.name,
                "steps": rows.steps,
                **asdict(division),
                # fmt: skip
                "samples": rows.samples,
                "aside": rows.aside,
                "parts": counts(model),
            },
        )
        trainer = self._trainer(built, stage, index, rows, division, step, stop)
        if trainer.divided and stage.lora and built.model.config.delimiter_token_id >= 0:
            raise ValueError(
                f"stage {stage.name!r}: a delimiter of the vocabulary under LoRA cannot learn in a divided model: take ddp.yaml"
            )
        with _checkpointing(model, stage.checkpointing):
            self._run(trainer, stage, division, kept.get(step))
        if stop.stopped:
            return built, {"step": trainer.state.global_step}
        found = self._finish(trainer, built, stage, index, time.perf_counter() - started)
        self._save(trainer, built, stage, index, found)
        return (
            reload(self.recipe, self.folder.stage(index, stage.name)) if trainer.divided else built
        ), found

    def _feed(self, built: Built, stage: Stage) -> Feed:
        options = self.options
        with (
            PartialState().main_process_first()
        ):  # the first process measures what has no known length, the others read it
            return feed(
                self.recipe,
                stage,
                tokenizer=built.tokenizer,
                placeholder=built.model.config.image_token_id,
                held_out=options.held_out,
                cache=options.cache,
                folder=self.folder.path / ".measured",
                device=str(PartialState().device),
            )

    def _trainer(
        self,
        built: Built,
        stage: Stage,
        index: int,
        rows: Feed,
        division: Division,
        step: int,
        stop: StopAfter,
    ) -> StageTrainer:
        options = self.options

        def judge(model: torch.nn.Module, whole: bool) -> dict[str, float]:
            words: dict[str, Any] = {
                "each": division.each,
                "answers": options.answers if whole else 0,
            }
            return evaluate(model, rows.held_out(), rows.collate, built.tokenizer, **words)

        every = options.evaluate_every
        return StageTrainer(
            built.model,
            stage,
            dataset=rows.dataset,
            collate=rows.collate,
            order=Order(rows.at, rows.steps, division, PartialState().process_index, step),
            checkpoints=self.folder.checkpoints(index, stage.name),
            record=lambda entry: self._record(index, entry),
            judge=judge if options.held_out else None,
            name=rows.name,
            keep=options.keep,
            callbacks=[stop, *trackers(options.log, self.folder.path, f"{index + 1}_{stage.name}")],
            save_strategy="steps",
            save_steps=options.save_every,
            eval_strategy="steps" if every else "no",
            eval_steps=every or None,
            dataloader_num_workers=options.workers,
            use_cpu=options.device == "cpu",
            report_to=[options.log] if options.log in ("trackio", "wandb") else [],
        )

    def _run(
        self, trainer: StageTrainer, stage: Stage, division: Division, checkpoint: Path | None
    ) -> None:
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise TrainingStopped(
                f"stage {stage.name!r}: out of memory at step {trainer.state.global_step + 1}. What to lower, cheapest first: "
                f"{what_to_lower(stage, division)}. Go on with --resume"
            ) from error

    def _finish(
        self, trainer: StageTrainer, built: Built, stage: Stage, index: int, seconds: float
    ) -> dict[str, Any]:
        steps = [
            e for e in self.folder.entries() if e["stage"] == index + 1 and e["kind"] == "step"
        ]
        found: dict[str, Any] = {"step": trainer.state.global_step, "seconds": seconds}
        if steps:
            last = steps[-min(len(steps), 20) :]
            found["loss"] = sum(entry["loss"] for entry in last) / len(last)
        if trainer.judge is not None:
            found |= trainer.evaluate()
        return found

    def _save(
        self, trainer: StageTrainer, built: Built, stage: Stage, index: int, found: dict[str, Any]
    ) -> None:
        model, state = built.model, None
        if trainer.divided:  # every process takes part in gathering, the first one gets it all
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            if stage.lora and self.first:
                state = merged_state(model, state)
                with torch.device("meta"):
                    model = RegionVLM(model.config)
        else:
            merged(model)
        built.model.requires_grad_(True)
        if self.first:
            self.folder.note("metrics.json", found, key=stage.name)
            with replacing(self.folder.stage(index, stage.name)) as part:
                model.save_pretrained(part, state_dict=state)
                RegionVLMProcessor(built.tokenizer).save_pretrained(part)
            shutil.rmtree(
                self.folder.checkpoints(index, stage.name), ignore_errors=True
            )  # the stage itself is kept now
        self._record(index, {"kind": "done", **found})
        PartialState().wait_for_everyone()

    def _largest(self, model: RegionVLM, stage: Stage, rows: Feed) -> int:
        if self.options.per_device:
            return self.options.per_device
        if self.options.device == "cpu" or not torch.cuda.is_available():
            return EACH_CPU
        free = torch.cuda.get_device_properties(0).total_memory
        return most_samples(
            model, stage, row=rows.longest, memory_bytes=free, half=is_half(self.recipe)
        )

    def _record(self, index: int, entry: dict[str, Any]) -> None:
        if self.first:
            whole = {"stage": index + 1, **entry}
            self.folder.record(whole)
            self.tell(whole)


@contextmanager
def _checkpointing(model: RegionVLM, on: bool):
    """Gradient checkpointing while a stage trains; and no cache of keys and values, which training
    never reads."""
    config = model.language_model.config
    before = getattr(config, "use_cache", None)
    config.use_cache = False
    enable = (
        getattr(model, "activation_checkpointing_enable", None)
        or model.gradient_checkpointing_enable
    )
    disable = (
        getattr(model, "activation_checkpointing_disable", None)
        or model.gradient_checkpointing_disable
    )
    if on:
        enable({"use_reentrant": False})
    try:
        yield
    finally:
        if on:
            disable()
        config.use_cache = before

"""The loop of a pretraining run: steps, evaluations, checkpoints, and the exported encoder.

After: RICE, section 4.1 (rows R7, R8).
Differs: stages go on in one stream of samples.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from regiontok.pretrain.batches import rank_batches, stage_views
from regiontok.pretrain.build import Learner, build_transformer, computes_in_bfloat16
from regiontok.pretrain.checkpoint import Checkpoints
from regiontok.pretrain.evaluate import evaluate_encoder
from regiontok.pretrain.folder import PretrainFolder
from regiontok.pretrain.gradients import autocast
from regiontok.pretrain.held_out import HeldOutImages
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.plan import image_operations
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.schedule import Timeline
from regiontok.pretrain.sources import shard_source
from regiontok.pretrain.spikes import Spikes
from regiontok.pretrain.step import StepTaker
from regiontok.rice import export
from regiontok.runs.folder import recent_loss
from regiontok.runs.trackers import Tracker
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage
from regiontok.shards.stream import ShardViews


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of one rank.

    Attributes:
        table: the `[pretrain]` table of the recipe.
        folder: the run's folder.
        options: where and how the run is carried out.
        ranks: the processes of the run.
        learner: all that learns.
        checkpoints: writes the checkpoints.
        timeline: the stages.
        cache: folder of generated sources.
        tracker: shows the log elsewhere, in the first process.
        tell: called with every entry of the log, in the first process.
        flag: set when the run shall end behind its current step.
    """

    table: Pretrain
    folder: PretrainFolder
    options: PretrainOptions
    ranks: Ranks
    learner: Learner
    checkpoints: Checkpoints
    timeline: Timeline
    cache: Path
    tracker: Tracker
    tell: Callable[[dict[str, Any]], None]
    flag: threading.Event

    def run(self, start: int) -> dict[str, Any]:
        """Go from a step to the end, or as far as `stop_after` says; returns the run's result."""
        last = self.timeline.steps
        stop = last if self.options.stop_after is None else start + self.options.stop_after
        stop = min(stop, last)
        step, interrupted = start, False
        while step < stop and not interrupted:
            index, _ = self.timeline.locate(step)
            end = min(stop, self.timeline.first_step(index + 1))
            step, interrupted = self._run_stage(index, range(step, end))
        if step < last:
            self.checkpoints.finish()
            if step not in self.checkpoints.folder.by_step():
                self.checkpoints.save(step, self.learner.state(), wait=True)
            reason = "asked to, " if interrupted else ""
            return {
                "step": step,
                "stopped": f"{reason}after step {step} of {last}; go on with --resume",
                "interrupted": interrupted,
            }
        if start == last and self.folder.encoder.is_dir():
            return {"step": step, "stopped": "", "interrupted": False}
        return self._finish(step)

    def _finish(self, step: int) -> dict[str, Any]:
        """Evaluate, save and export what was trained; returns the run's result."""
        result = {
            "step": step,
            "loss": self._recent_loss(),
            **self._evaluate(step),
            "stopped": "",
            "interrupted": False,
        }
        self.checkpoints.save(step, self.learner.state(), wait=True)
        self._export()
        self._record({"kind": "done", **result})
        self.ranks.wait()
        return result

    def _run_stage(self, index: int, steps: range) -> tuple[int, bool]:
        """Take steps of one stage.

        Returns:
            The steps taken so far in the run, and whether a signal ended the stage.
        """
        stage = self.table.stage[index]
        views = stage_views(
            self.table,
            stage,
            patch=self.learner.transformer.vit.config.patch,
            first=self.timeline.first_sample(self.timeline.first_step(index)),
            cache=self.cache,
            ranks=self.ranks,
            skip=self.options.skip,
            encoded=self.options.gpu_decode and self.ranks.device.type == "cuda",
        )
        self._record_stage(index, steps.start, views)
        if steps.start == 0:
            self._evaluate(0)  # what training starts from
        batches = rank_batches(
            self.table,
            views,
            steps,
            timeline=self.timeline,
            ranks=self.ranks,
            workers=self.options.workers,
        )
        began = time.perf_counter()
        for step, batch in zip(steps, batches, strict=True):
            numbers = self._step_taker.take(step, batch)
            kind = "note" if "left_out" in numbers else "step"
            entry = {"kind": kind, "step": step + 1, "stage": stage.name, **numbers}
            entry |= self._speed(stage, time.perf_counter() - began)
            if stage.sizes:
                entry["size"] = list(batch.pixels.shape[-2:])
            if batch.skipped:
                entry["skipped"] = list(batch.skipped)
            self._record(entry)
            self._do_what_is_due(step + 1)
            began = time.perf_counter()  # evaluations are not training
            if self.ranks.on_any(self.flag.is_set()):
                return step + 1, True
        return steps.stop, False

    def _record_stage(self, index: int, step: int, views: ShardViews) -> None:
        """Log that a stage begins, or goes on from a step."""
        stage = self.table.stage[index]
        self._record(
            {
                "kind": "stage",
                "step": step,
                "name": stage.name,
                "first": self.timeline.first_step(index),
                "steps": stage.length,
                "size": list(stage.sides),
                "batch": stage.batch,
                "ranks": self.ranks.world,
                "images": views.order.samples,
                "left_out": views.left_out,
            }
        )
        for text in views.notes:
            self._record({"kind": "note", "step": step, "text": text})

    def _speed(self, stage: PretrainStage, seconds: float) -> dict[str, float]:
        """Images a second of all ranks, and the share of the peak where that is known."""
        speed = {"images_per_second": stage.batch / seconds}
        if self.options.peak:
            config = self.learner.transformer.vit.config
            operations = image_operations(self.table, config, stage) * stage.batch
            speed["peak_share"] = operations / seconds / self.options.peak / self.ranks.world
        return speed

    def _do_what_is_due(self, steps_taken: int) -> None:
        """Evaluate and save after a step, where that is due; the end does its own."""
        self.checkpoints.poll()
        if steps_taken == self.timeline.steps:
            return
        if self.table.evaluate.every and steps_taken % self.table.evaluate.every == 0:
            self._evaluate(steps_taken)
        if steps_taken % self.options.save_every == 0:
            self.checkpoints.save(steps_taken, self.learner.state())

    @cached_property
    def _step_taker(self) -> StepTaker:
        return StepTaker(
            table=self.table,
            options=self.options,
            ranks=self.ranks,
            learner=self.learner,
            checkpoints=self.checkpoints,
            timeline=self.timeline,
            spikes=Spikes(self.table.spikes, self.folder.entries()),
        )

    @cached_property
    def _held_out(self) -> HeldOutImages:
        """The images on which the encoder is measured."""
        settings = self.table.evaluate
        return HeldOutImages(
            shard_source(settings.shards, settings.sidecars, self.cache, kind="object"),
            most=settings.images,
            patch=self.learner.transformer.vit.config.patch,
            masks=self.table.masks,
        )

    def _evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate and log the encoder after so many steps; {} if the recipe names no images."""
        settings = self.table.evaluate
        if not settings.shards:
            return {}
        size = self.timeline.stage_of(max(step - 1, 0)).sides
        share = self._held_out.share(size, self.ranks)
        in_bfloat16 = computes_in_bfloat16(self.table, self.ranks) and not self.learner.is_sharded
        with autocast(self.ranks.device, in_bfloat16):
            metrics = evaluate_encoder(
                self.learner.transformer,
                share,
                k=settings.k,
                device=self.ranks.device,
                mesh=self.ranks.mesh,
            )
        self._record({"kind": "eval", "step": step, **metrics})
        return metrics

    def _export(self) -> None:
        """Write the encoder, in MLCD's layout."""
        state = {
            name: _gathered(value) for name, value in self.learner.transformer.state_dict().items()
        }
        if self.ranks.is_first:
            model = build_transformer(self.table.model_copy(update={"seed": 0}))
            model.load_state_dict(state)
            export.save(model, self.folder.encoder, layout=self.table.model.layout)

    def _recent_loss(self) -> float:
        """Mean loss of the last steps; NaN on ranks that do not write the log."""
        if not self.ranks.is_first:
            return math.nan
        steps = [entry for entry in self.folder.entries() if entry["kind"] == "step"]
        return recent_loss(steps) if steps else math.nan

    def _record(self, entry: dict[str, Any]) -> None:
        """Log an entry, in the first process."""
        if self.ranks.is_first:
            self.folder.record(entry)
            self.tracker.record(entry)
            self.tell(entry)


def _gathered(value: Tensor) -> Tensor:
    """The whole of a tensor that may be divided among ranks, on the CPU."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()

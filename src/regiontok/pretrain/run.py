"""The whole run: stages one after the other, from any checkpoint on; stopped at any moment, it goes
on exactly.

After: RICE, section 4.1 (rows R7, R8).
Differs: stages go on in one stream of samples.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from regiontok.pretrain.build import Learner, build, halved, heads, transformer, vit_config
from regiontok.pretrain.checkpoint import Checkpoints, quiet
from regiontok.pretrain.evaluate import evaluate, held_out
from regiontok.pretrain.feed import Batch, batches, folder_of, head_names, views
from regiontok.pretrain.folder import PretrainFolder, provenance
from regiontok.pretrain.gradients import autocast, gradients
from regiontok.pretrain.plan import operations
from regiontok.pretrain.ranks import Ranks, joined
from regiontok.pretrain.schedule import Timeline
from regiontok.rice import export
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.settings.recipe import Recipe
from regiontok.system.errors import RegiontokError
from regiontok.system.interrupt import interruptible

NAMED = 16  # images of a failing batch that the message names


class PretrainingStopped(RegiontokError, ValueError):
    """Training ended before its last step; the message says why, and how to go on."""


@dataclass(frozen=True)
class PretrainOptions:
    """What does not decide the result, beyond rounding.

    Attributes:
        each: images of one pass on one device; 0: all of a rank's.
        save_every: steps between checkpoints.
        keep: checkpoints that stay.
        workers: processes that read images.
        device: "cpu", or "auto" for a GPU where there is one.
        shard: FSDP2 in place of DDP.
        compile_blocks: compile each block.
        skip: pass over shards and images that cannot be read, and name them in the log.
        stop_after: steps of this call, then a checkpoint; 0: to the end.
        cache: folder of generated sources; "": in the run's.
        peak: operations a second of one device, for the share that is reached; 0: unknown.
    """

    each: int = 0
    save_every: int = 1000
    keep: int = 2
    workers: int = 0
    device: str = "auto"
    shard: bool = False
    compile_blocks: bool = False
    skip: bool = False
    stop_after: int = 0
    cache: str = ""
    peak: float = 0.0


def pretrain(
    recipe: Recipe,
    out: str | Path,
    *,
    options: PretrainOptions | None = None,
    resume: bool = False,
    given: str = "",
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Pretrain; returns `step`, `loss` (mean of the last 20 steps), the last evaluation, and
    `stopped`: why it ended early, or ""; `interrupted`: whether Ctrl-C or SIGTERM did that.

    Args:
        recipe: resolved at its scale, with a `[pretrain]`.
        out: the run's folder.
        options: see `PretrainOptions`.
        resume: go on with what stands in `out`; it must be of the same recipe. Any number of
            processes may.
        given: the recipe's text as it was read, to be kept.
        tell: called with every entry of the log, in the first process.

    Raises:
        ValueError: a recipe without `[pretrain]` or one that cannot be trained; a folder that holds
            another run; a loss that is not finite.
        ShardError: a shard is missing or damaged, unless `options.skip` is set.
    """
    if recipe.pretrain is None:
        raise ValueError(
            f"{recipe.name} has no [pretrain]: nothing to pretrain; `regiontok train` trains [[stage]]s"
        )
    options = options or PretrainOptions()
    table, folder = recipe.pretrain, PretrainFolder(Path(out))
    timeline = Timeline(table.stage)
    about = {
        "vit": asdict(vit_config(table)),
        "region_layers": table.model.region_layers,
        "query": table.model.query,
    }
    about |= {f"classes of {head.name}": head.classes for head in heads(table)}
    with quiet(), joined(options.device) as ranks:
        if ranks.first:  # the others would meet what it has just written
            folder.begin(recipe, given, resume=resume)
        ranks.wait()
        learner = build(table, ranks, shard=options.shard, compile_blocks=options.compile_blocks)
        checkpoints = Checkpoints(folder.path / "checkpoints", ranks, about, options.keep)
        kept = checkpoints.found() if resume else {}
        start = max(kept, default=0)
        if kept:
            checkpoints.load(kept[start], learner.state())
        cache = Path(options.cache) if options.cache else folder.path / "data"
        if ranks.first:
            for text in (
                *(one.shards for one in table.data),
                *filter(None, [table.evaluate.shards]),
            ):
                folder_of(text, cache)
            folder.start(provenance(recipe, ranks.world, start), start)
        ranks.wait()
        # a terminal and torchrun both signal every rank, so several of them mean no more than one
        with interruptible(insist=ranks.world == 1) as asked:
            session = _Session(
                table, folder, options, ranks, learner, checkpoints, timeline, cache, tell, asked
            )
            return session.run(start)


@dataclass(frozen=True)
class _Session:
    table: Pretrain
    folder: PretrainFolder
    options: PretrainOptions
    ranks: Ranks
    learner: Learner
    checkpoints: Checkpoints
    timeline: Timeline
    cache: Path
    tell: Callable[[dict[str, Any]], None]
    asked: threading.Event

    def run(self, start: int) -> dict[str, Any]:
        """From a step to the end, or as far as `stop_after` says."""
        last = self.timeline.steps
        stop = min(last, start + self.options.stop_after) if self.options.stop_after else last
        at, halted = start, False
        while at < stop and not halted:
            index, _ = self.timeline.at(at)
            at, halted = self._stage(index, at, min(stop, self.timeline.start(index + 1)))
        if at < last:
            self.checkpoints.finish()
            if at not in self.checkpoints.found():
                self.checkpoints.save(at, self.learner.state(), wait=True)
            why = "asked to, " if halted else ""
            return {
                "step": at,
                "stopped": f"{why}after step {at} of {last}; go on with --resume",
                "interrupted": halted,
            }
        if start == last and self.folder.encoder.is_dir():
            return {"step": at, "stopped": "", "interrupted": False}
        found = {
            "step": at,
            "loss": self._last_loss(),
            **self._evaluate(at),
            "stopped": "",
            "interrupted": False,
        }
        self.checkpoints.save(at, self.learner.state(), wait=True)
        self._export()
        self._record({"kind": "done", **found})
        self.ranks.wait()
        return found

    def _stage(self, index: int, start: int, end: int) -> tuple[int, bool]:
        """Steps of one stage; the step that was reached, and whether a signal ended it."""
        table, ranks, timeline = self.table, self.ranks, self.timeline
        stage, own_heads = table.stage[index], head_names(table)
        patch = self.learner.bare.vit.config.patch
        data = views(table, stage, patch, self.cache, skip=self.options.skip)
        first = self.timeline.start(index)
        self._record(
            {"kind": "stage", "step": start, "name": stage.name, "first": first, "steps": stage.length, "size": list(stage.sides),
             "batch": stage.batch, "ranks": ranks.world, "images": data.order.samples, "left_out": data.left_out}
        )  # fmt: skip
        if not start:
            self._evaluate(0)  # what training starts from
        feed = batches(
            data, timeline, start, end, own_heads, ranks.rank, ranks.world, self.options.workers
        )
        work = operations(table, vit_config(table), stage) * stage.batch
        began = time.perf_counter()
        for step, batch in zip(range(start, end), feed, strict=True):
            entry = {
                "kind": "step",
                "step": step + 1,
                "stage": stage.name,
                **self._step(step, batch),
            }
            taken = time.perf_counter() - began
            entry |= {"images_per_second": stage.batch / taken}
            if self.options.peak:
                entry |= {"peak_share": work / taken / self.options.peak / ranks.world}
            self._record(entry | ({"skipped": list(batch.skipped)} if batch.skipped else {}))
            self._between(step + 1)
            began = time.perf_counter()  # evaluations are not training
            if ranks.anywhere(self.asked.is_set()):
                return step + 1, True
        return end, False

    def _between(self, done: int) -> None:
        """What is due after so many steps; the end does its own."""
        self.checkpoints.poll()
        if done == self.timeline.steps:
            return
        if self.table.evaluate.every and done % self.table.evaluate.every == 0:
            self._evaluate(done)
        if done % self.options.save_every == 0:
            self.checkpoints.save(done, self.learner.state())

    def _step(self, step: int, batch: Batch) -> dict[str, Any]:
        """One optimiser step.

        Raises:
            PretrainingStopped: the loss or a gradient is not finite; nothing has been changed by
                it.
        """
        learner, told = self.learner, self.table.optimizer
        rate = self.timeline.rate(step)
        learner.set_rate(rate, told.centre_rate)
        found = gradients(
            learner,
            batch,
            step,
            self.options.each,
            self.ranks.device,
            halved(self.table, self.ranks),
        )
        limit = told.clip or math.inf
        norm = nn.utils.clip_grad_norm_(learner.bare.parameters(), limit)
        whole = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        centres = float(learner.rows.clip(limit) if told.clip else learner.rows.gradient_norm())
        loss = float(found.loss.detach())
        if not all(map(math.isfinite, (loss, whole, centres))):
            self._stop(step, loss, whole, centres, batch)
        learner.trunk.step()
        learner.rows.step()
        learner.trunk.zero_grad(set_to_none=True)
        entry: dict[str, Any] = {"loss": loss, "rate": rate, "norm": whole, "norm_centres": centres}
        for name, report in found.heads.items():
            values = {
                "loss": report.loss,
                "rho": report.rho,
                "cosine": report.positive,
                "usage": learner.rows.usage(name),
            }
            entry |= {f"{key}_{name}": float(value) for key, value in values.items()} | {
                f"regions_{name}": report.regions
            }
        return entry

    def _stop(self, step: int, loss: float, norm: float, centres: float, batch: Batch) -> None:
        self.checkpoints.finish()
        kept = list(self.checkpoints.found().values())
        last = (
            f"the last good checkpoint is {kept[-1]}"
            if kept
            else "there is no checkpoint before it"
        )
        first = self.timeline.first_sample(step)
        stage = self.table.stage[self.timeline.at(step)[0]]
        more = " ..." if len(batch) > NAMED else ""
        raise PretrainingStopped(
            f"step {step + 1}: the loss is {loss}, the gradients' norms {norm} (encoder) and {centres} (centres): not finite; {last}. "
            f"The batch: samples {first} to {first + stage.batch - 1}, on this rank {', '.join(batch.images[:NAMED])}{more}. "
            f"Lower learning_rate ({stage.learning_rate}), raise warmup ({stage.warmup}) or set precision = 'fp32'"
        )

    def _evaluate(self, step: int) -> dict[str, Any]:
        told = self.table.evaluate
        if not told.shards:
            return {}
        size = self.table.stage[self.timeline.at(max(step - 1, 0))[0]].sides
        images = held_out(
            folder_of(told.shards, self.cache),
            size,
            self.learner.bare.vit.config.patch,
            told.images,
        )
        with self._autocast():
            found = evaluate(self.learner.bare, images, told.k, self.ranks.device)
        self._record({"kind": "eval", "step": step, **found})
        return found

    def _autocast(self) -> Any:
        return autocast(
            self.ranks.device, halved(self.table, self.ranks) and not self.learner.sharded
        )

    def _export(self) -> None:
        """The encoder, in MLCD's layout."""
        state = {name: _whole(value) for name, value in self.learner.bare.state_dict().items()}
        if self.ranks.first:
            model = transformer(self.table.model_copy(update={"seed": 0}))
            model.load_state_dict(state)
            export.save(model, self.folder.encoder)

    def _last_loss(self) -> float:
        steps = (
            [entry["loss"] for entry in self.folder.entries() if entry["kind"] == "step"]
            if self.ranks.first
            else []
        )
        return sum(steps[-20:]) / len(steps[-20:]) if steps else math.nan

    def _record(self, entry: dict[str, Any]) -> None:
        if self.ranks.first:
            self.folder.record(entry)
            self.tell(entry)


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()

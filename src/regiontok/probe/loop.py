"""The one training loop of the probes: exact resume, one log, one kind of checkpoint.

A step is a function of the seed, of its number and of what was learned before it: batches are
functions of their numbers, and whatever torch draws while a loss is computed follows from the seed
and the batch's number. A run that was killed at any step and goes on is therefore equal, bit by bit
on one CPU process, to one that was not.

After: nothing published; what detectron2's, OSTrack's and LISA's loops have in common.
Differs: gradients are averaged by hand and not by DDP's hooks, so that a loss may call any method
of the module; heads are small, and nothing is gained by overlapping.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regiontok.probe.draws import torch_seeded
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.optimisation import Optimisation, learning
from regiontok.probe.options import ProbeOptions
from regiontok.probe.processes import Processes
from regiontok.runs.errors import RunStopped
from regiontok.runs.folder import recent_loss
from regiontok.runs.provenance import provenance_of
from regiontok.runs.trackers import Tracker, open_tracker
from regiontok.system.interrupt import interruptible
from regiontok.system.lease import folder_lease
from regiontok.system.prefetch import map_ahead
from regiontok.system.strict_json import strict_json

Losses = Mapping[str, Tensor]
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What a probe hands to the loop.

    Attributes:
        name: what the log calls the run.
        module: what learns, with the weights it begins with; the loop moves it to the device.
        batch_at: the batch of a number, on the CPU. It is a pure function of that number, and
            threads may call it ahead. A step has `Optimisation.batches` of them.
        loss_of: `(module, batch)` to scalar losses by name, whose sum is minimised.
        encode: what is done with a batch before, without gradient: the frozen encoder, and the way
            to the device.
    """

    name: str
    module: nn.Module
    batch_at: Callable[[int], Any]
    loss_of: Callable[[Any, Any], Losses]
    encode: Callable[[Any], Any] = field(default=lambda batch: batch)


def train(
    learner: Learner,
    optimisation: Optimisation,
    folder: ProbeFolder,
    *,
    settings: Mapping[str, Any],
    options: ProbeOptions | None = None,
    resume: bool = False,
    tell: Tell = lambda entry: None,
) -> dict[str, Any]:
    """Train a probe's module, from the last checkpoint of its folder on if `resume` is set.

    Afterwards `learner.module` holds what was learned, also where nothing was left to do.

    Args:
        learner: what learns, from which batches, by which loss.
        optimisation: how it learns.
        folder: the run's folder.
        settings: all else that decides the result, as JSON has it: the encoder's identity, the
            data's, the head's sizes. A run goes on only with the same ones.
        options: where and how the run is carried out.
        resume: go on with the run in the folder.
        tell: called with every entry of the log, in the first process.

    Returns:
        `step`; `loss`, the mean of the last 20 steps; `stopped`, why the run ended early, or "";
        `interrupted`, whether Ctrl-C or SIGTERM ended it.

    Raises:
        OtherRun: If the folder holds a run of other settings.
        ValueError: If the folder holds other files, or several processes cannot share the batches.
        FolderInUse: If another process trains in the folder.
        RunStopped: If a loss is not finite, or a checkpoint cannot be written.
        NoWholeCheckpoint: If there are checkpoints, and all of them are damaged.
    """
    options = options or ProbeOptions()
    processes = Processes.join(options.device)
    if optimisation.batches % processes.count:
        raise ValueError(
            f"{processes.count} processes cannot share the {optimisation.batches} batches of a "
            "step: make the number of batches a multiple of that of the processes"
        )
    decisive = {**settings, "optimisation": asdict(optimisation)}
    with folder_lease(folder.path, rank=processes.rank):
        notes: list[str] = []
        if processes.is_first:
            folder.open(decisive, resume=resume)
            notes = folder.checkpoints().set_aside_damaged()
        processes.wait()
        learner.module.to(processes.device)
        optimizer = optimisation.optimizer(learner.module)
        start = folder.load(learner.module, optimizer) if resume else 0
        if processes.is_first:
            _log_start(folder, decisive, processes, optimisation, start, notes, tell)
        processes.wait()
        tracker = open_tracker(
            options.tracker if processes.is_first else "", folder.path, start=start, config=decisive
        )
        with interruptible(insist=processes.count == 1) as flag:
            loop = _Loop(
                learner, optimisation, folder, options, processes, optimizer, tracker, tell, flag
            )
            try:
                return loop.run(start)
            finally:
                tracker.close()


def _log_start(
    folder: ProbeFolder,
    decisive: Mapping[str, Any],
    processes: Processes,
    optimisation: Optimisation,
    start: int,
    notes: list[str],
    tell: Tell,
) -> None:
    """Record where this start comes from, and drop what was logged after the checkpoint."""
    text, seeds = strict_json(decisive, sort_keys=True), {"probe": optimisation.seed}
    folder.add_start(provenance_of(text, processes=processes.count, seeds=seeds, step=start))
    folder.rewind_to(start)
    for note in notes:
        entry = {"kind": "note", "step": start, "text": note}
        folder.record(entry)
        tell(entry)


@dataclass(frozen=True)
class _Loop:
    learner: Learner
    optimisation: Optimisation
    folder: ProbeFolder
    options: ProbeOptions
    processes: Processes
    optimizer: Optimizer
    tracker: Tracker
    tell: Tell
    flag: threading.Event

    def run(self, start: int) -> dict[str, Any]:
        """Go from a step to the end, or as far as `stop_after` says; returns the run's result."""
        last = self.optimisation.schedule.steps
        stop = last if self.options.stop_after is None else start + self.options.stop_after
        self._record(
            {"kind": "stage", "step": start, "name": self.learner.name, "first": 0, "steps": last}
        )
        step, interrupted = self._steps(range(start, min(stop, last)))
        if step > start and step not in self.folder.checkpoints().by_step():
            self._save(step)
        self.processes.wait()
        reason = "asked to, " if interrupted else ""
        early = f"{reason}after step {step} of {last}; go on with --resume" if step < last else ""
        steps = [entry for entry in self.folder.entries() if entry["kind"] == "step"]
        return {
            "step": step,
            "loss": recent_loss(steps) if steps else None,
            "stopped": early,
            "interrupted": interrupted and step < last,
        }

    def _steps(self, steps: range) -> tuple[int, bool]:
        """Take steps; returns how many the run has taken, and whether a signal ended it."""
        self.learner.module.train()
        numbers = (draw for step in steps for draw in self._draws(step))
        batches = map_ahead(self.learner.batch_at, numbers, workers=self.options.workers)
        with closing(batches):
            for step in steps:
                self._record({"kind": "step", "step": step + 1, **self._take(step, batches)})
                taken = step + 1
                if taken % self.options.save_every == 0 and taken < self._last:
                    self._save(taken)
                if self.processes.on_any(self.flag.is_set()):
                    return taken, True
        return steps.stop, False

    def _take(self, step: int, batches: Iterator[Any]) -> dict[str, float]:
        """Take one step; returns what is logged of it."""
        rate = self.optimisation.set_rate(self.optimizer, step)
        self.optimizer.zero_grad(set_to_none=True)
        draws = list(self._draws(step))
        parts: dict[str, float] = {}
        for draw in draws:
            for name, loss in self._backward(draw, next(batches), len(draws)).items():
                parts[name] = parts.get(name, 0.0) + loss / len(draws)
        parts = self.processes.mean_numbers(parts)
        self._require_finite(step, parts)
        parameters = learning(self.learner.module).values()
        self.processes.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.optimisation.clip or math.inf)
        self._require_finite(step, {"the norm of the gradients": float(norm)})
        self.optimizer.step()
        return {"loss": sum(parts.values()), **parts, "rate": rate, "norm": float(norm)}

    def _backward(self, draw: int, batch: Any, count: int) -> dict[str, float]:
        """Add a batch's share to the gradients; returns its losses."""
        with torch.no_grad():
            encoded = self.learner.encode(batch)
        device = self.processes.device
        with torch_seeded(self.optimisation.seed, draw, device=device):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.optimisation.bfloat16):
                losses = self.learner.loss_of(self.learner.module, encoded)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            if total.requires_grad:  # a batch may have nothing to learn from
                (total / count).backward()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _require_finite(self, step: int, numbers: Mapping[str, float]) -> None:
        bad = {name: value for name, value in numbers.items() if not math.isfinite(value)}
        if bad:
            named = ", ".join(f"{name} {value}" for name, value in bad.items())
            raise RunStopped(
                f"step {step + 1} is not taken: {named} is not finite; "
                f"{self.folder.checkpoints().last_good()}. A lower rate, a longer warm-up or "
                "clipping may help: another run, with another --out"
            )

    def _draws(self, step: int) -> range:
        """The numbers of this process's batches of a step."""
        count, first = self.optimisation.batches, step * self.optimisation.batches
        return range(first + self.processes.rank, first + count, self.processes.count)

    @cached_property
    def _last(self) -> int:
        return self.optimisation.schedule.steps

    def _save(self, step: int) -> None:
        if self.processes.is_first:
            self.folder.save(step, self.learner.module, self.optimizer, keep=self.options.keep)

    def _record(self, entry: dict[str, Any]) -> None:
        """Log an entry, in the first process."""
        if self.processes.is_first:
            self.folder.record(entry)
            self.tracker.record(entry)
            self.tell(entry)

"""One step of pretraining: gradients, clipping, both optimisers, and the numbers for the log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor

from regiontok.pretrain.batches import Batch
from regiontok.pretrain.build import Learner, computes_in_bfloat16
from regiontok.pretrain.checkpoint import Checkpoints
from regiontok.pretrain.gradients import compute_gradients
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.schedule import Timeline
from regiontok.pretrain.spikes import Spikes
from regiontok.rice.class_head import DiscriminationLoss
from regiontok.runs.errors import RunStopped
from regiontok.settings.pretrain_recipe import Pretrain

NAMED_IMAGES = 16  # images of a failing batch that the message names


@dataclass(frozen=True, kw_only=True)
class StepTaker:
    """Takes the steps of one rank.

    Attributes:
        table: the `[pretrain]` table of the recipe.
        options: where and how the run is carried out.
        ranks: the processes of the run.
        learner: all that learns.
        checkpoints: names the last good one when a step cannot be taken.
        timeline: the stages.
        spikes: tells the steps that leap.
    """

    table: Pretrain
    options: PretrainOptions
    ranks: Ranks
    learner: Learner
    checkpoints: Checkpoints
    timeline: Timeline
    spikes: Spikes

    def take(self, step: int, batch: Batch) -> dict[str, Any]:
        """Take one optimiser step, or leave it out if its loss leaps.

        Returns:
            The numbers of the step for the log; of one that is left out `text` and `left_out`.

        Raises:
            RunStopped: If the loss leaps or a gradient is not finite, and the step may not be left
                out; it has changed nothing.
        """
        learner, settings = self.learner, self.table.optimizer
        rate = self.timeline.rate(step)
        learner.set_rate(rate, settings.centre_rate)
        result = compute_gradients(
            learner,
            batch,
            step,
            per_pass=self.options.per_device,
            device=self.ranks.device,
            in_bfloat16=computes_in_bfloat16(self.table, self.ranks),
        )
        limit = settings.clip or math.inf
        clipped = nn.utils.clip_grad_norm_(learner.transformer.parameters(), limit)
        norm = float(clipped.full_tensor() if isinstance(clipped, DTensor) else clipped)
        centre_optimizer = learner.centre_optimizer
        norm_centres = float(
            centre_optimizer.clip(limit) if settings.clip else centre_optimizer.gradient_norm()
        )
        loss = float(result.loss.detach())
        if leap := self.spikes.leap(loss, norm, norm_centres):
            if not self.spikes.may_leave_out():
                self._stop_at_bad_loss(
                    step, loss, batch, norm=norm, norm_centres=norm_centres, leap=leap
                )
            return self._left_out(step, loss, batch, leap)
        self.spikes.taken(loss)
        learner.transformer_optimizer.step()
        centre_optimizer.step()
        learner.transformer_optimizer.zero_grad(set_to_none=True)
        numbers = {"loss": loss, "rate": rate, "norm": norm, "norm_centres": norm_centres}
        return numbers | self._head_numbers(result)

    def _left_out(self, step: int, loss: float, batch: Batch, leap: str) -> dict[str, Any]:
        """Drop the gradients; returns what the log says of the step."""
        self.learner.transformer_optimizer.zero_grad(set_to_none=True)
        self.learner.centre_optimizer.zero_grad()
        text = f"step {step + 1} is left out: its loss is {loss:.6g}, {leap}; {_names(batch)}"
        return {"text": text, "left_out": self.spikes.left_out}

    def _head_numbers(self, result: DiscriminationLoss) -> dict[str, float]:
        """The numbers of every head for the log."""
        numbers: dict[str, float] = {}
        for name, report in result.heads.items():
            numbers[f"loss_{name}"] = float(report.loss)
            numbers[f"rho_{name}"] = float(report.rho)
            numbers[f"cosine_{name}"] = float(report.positive)
            numbers[f"usage_{name}"] = float(self.learner.centre_optimizer.usage(name))
            numbers[f"regions_{name}"] = report.regions
        return numbers

    def _stop_at_bad_loss(
        self,
        step: int,
        loss: float,
        batch: Batch,
        *,
        norm: float,
        norm_centres: float,
        leap: str,
    ) -> None:
        self.checkpoints.finish()
        stage = self.timeline.stage_of(step)
        first = self.timeline.first_sample(step)
        raise RunStopped(
            f"step {step + 1}: the loss is {loss}, the gradients' norms {norm} (encoder) and "
            f"{norm_centres} (centres): {leap}; {self.checkpoints.folder.last_good()}. "
            f"The batch: samples {first} to {first + stage.batch - 1}, "
            f"on this rank {_names(batch)}. "
            f"Lower learning_rate ({stage.learning_rate}), raise warmup ({stage.warmup}) "
            "or set precision = 'fp32'"
        )


def _names(batch: Batch) -> str:
    """The first images of a batch."""
    ellipsis = " ..." if len(batch) > NAMED_IMAGES else ""
    return f"{', '.join(batch.images[:NAMED_IMAGES])}{ellipsis}"

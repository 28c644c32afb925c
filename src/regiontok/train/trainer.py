"""One stage on transformers' Trainer, with exact resuming.

After: LLaVA's trainer; row D13.
Differs: the order of the samples is a function of (seed, step) and not of a sampler's state; a
checkpoint holds what learns, not the frozen rest, and is whole or absent; a loss that is not finite
ends the run; every step is logged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback

from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.runs.errors import RunStopped
from regiontok.settings.recipe import Stage
from regiontok.system.interrupt import ignore_stop_signals
from regiontok.system.logs import module_logger
from regiontok.system.writing import clear_write_errors
from regiontok.train.arguments import training_arguments
from regiontok.train.averaging import WeightAverage
from regiontok.train.batching import BatchOrder
from regiontok.train.parts import parameter_groups

_LOG = module_logger(__name__)
WEIGHTS = "model.safetensors"
NAMED_ROWS = 16  # rows of a failing batch that the message names


class StageTrainer(Trainer):
    """Trains one stage.

    Args:
        model: a model whose trainable parts are set.
        stage: the stage of the recipe.
        dataset: examples by row.
        collate: makes a batch of examples.
        order: the rows of each micro-batch of this process.
        checkpoints: where checkpoints lie.
        record: takes every entry of the log, in the first process.
        evaluator: a function of the model, and of whether it can generate, to metrics; None
            evaluates nothing.
        row_name: what a row is called in messages.
        epoch_of_step: the epoch of a step, from which seeded region steps draw.
        supervised_only: whether logits are computed where something is supervised alone.
        average: a running average of the weights, which checkpoints hold; None keeps none.
        callbacks: callbacks of transformers' kind.
        arguments: further fields of `TrainingArguments`.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: Stage,
        *,
        dataset: Dataset[Any],
        collate: Callable[[list[Any]], dict[str, Any]],
        order: BatchOrder,
        checkpoints: CheckpointFolder,
        record: Callable[[dict[str, Any]], None],
        evaluator: Callable[[nn.Module, bool], dict[str, float]] | None = None,
        row_name: Callable[[Any], str] = str,
        epoch_of_step: Callable[[int], int] = lambda step: 0,
        supervised_only: bool = False,
        average: WeightAverage | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **arguments: Any,
    ) -> None:
        self.stage, self.order, self.checkpoints = stage, order, checkpoints
        self.record, self.evaluator, self.row_name = record, evaluator, row_name
        self.epoch_of_step, self.supervised_only = epoch_of_step, supervised_only
        self.average = average
        self._plain_model, self._is_staging = model, False
        super().__init__(
            model,
            training_arguments(stage, order, checkpoints.path, **arguments),
            data_collator=collate,
            train_dataset=dataset,
            # Trainer only asks whether there is one: `evaluate` is ours
            eval_dataset=dataset if evaluator else None,
            # the average first: a step's checkpoint holds it
            callbacks=[*([average] if average else []), *callbacks],
        )
        # `forward` hands num_items_in_batch on: accumulation averages over tokens, not passes
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)  # the run's own log says it

    @property
    def is_divided(self) -> bool:
        """True under FSDP and DeepSpeed, where no process holds the whole model."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """A loader that accelerate does not divide: `BatchOrder` gives this process its share."""
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.order,  # type: ignore[arg-type]
            collate_fn=self.data_collator,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=ignore_stop_signals,
            # else each new iterator draws its seed from the global state, and a resume one more
            generator=torch.Generator(),
        )

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """One pass: region steps with a seed (`sort('random')`) draw anew in each epoch.

        A step whose answers are all cut away has loss 0 and teaches nothing: without a supervised
        token the mean would be 0 / 0.

        Raises:
            RunStopped: If the regions of a picture cannot be made; the message names the picture
                and the records of the batch.
        """
        step = self.state.global_step
        if num_items_in_batch is not None and int(num_items_in_batch) == 0:
            _LOG.warning(
                "stage %r, step %d: no answer of the batch lies within %d tokens, so that nothing "
                "is learned from it",
                self.stage.name,
                step + 1,
                self.stage.max_length,
            )
            num_items_in_batch = num_items_in_batch + 1
        inputs = inputs | {"draw": self.epoch_of_step(step)}
        if self.supervised_only:
            inputs["supervised_only"] = True
        if "objects" in inputs:
            inputs["naming"] = self.stage.naming
        try:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        except ValueError as error:
            raise RunStopped(
                f"stage {self.stage.name!r}, step {step + 1}: {error}"
                f"{_failing_pictures(self._plain_model, inputs.get('pictures', ()))}; "
                f"{self.checkpoints.last_good()}. The batch: {self._batch_names()}. Leave the "
                "record out, or take steps that make regions of every picture"
            ) from error

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a learning rate for each part."""
        if self.optimizer is None:
            cls, arguments = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = cls(parameter_groups(self._plain_model, self.stage), **arguments)
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write into the run's own log, and to the trackers.

        Raises:
            RunStopped: If the loss is not finite; nothing of this step is saved.
        """
        if "loss" in logs:
            numbers = (logs["loss"], float(logs.get("grad_norm", 0.0)))
            if not all(map(math.isfinite, numbers)):
                self._stop_at_bad_loss(logs["loss"])
        super().log(logs, start_time)
        if self.is_world_process_zero() and "train_runtime" not in logs:
            kind = "step" if "loss" in logs else "eval"
            values = {name: value for name, value in logs.items() if name != "epoch"}
            self.record({"kind": kind, "step": self.state.global_step, **values})

    def _batch_names(self, step: int | None = None) -> str:
        """The rows of a step's batch, the running one's if none is named."""
        batch = self.order.rows_of_step(self.state.global_step if step is None else step)
        names = ", ".join(self.row_name(row) for row in batch[:NAMED_ROWS])
        return f"{names}{' ...' if len(batch) > NAMED_ROWS else ''}"

    def _stop_at_bad_loss(self, loss: float) -> None:
        step = self.state.global_step
        raise RunStopped(
            f"stage {self.stage.name!r}, step {step}: the loss is {loss} or its gradient is not "
            f"finite; {self.checkpoints.last_good()}. The batch: {self._batch_names(step - 1)}. "
            f"Lower learning_rate ({self.stage.learning_rate}), raise warmup "
            "or set precision = 'fp32'"
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Evaluate the model on what is held out; its metrics, named `eval_...`.

        Averaged weights are judged where there are some: they are what the stage leaves behind.
        Every process does all of it, so that divided models stay in step.
        """
        assert self.evaluator is not None
        # a divided model is whole in its own forward only, so that it cannot generate
        model = self.model_wrapped if self.is_divided else self._plain_model
        with self.average.applied() if self.average else nullcontext():
            measured = self.evaluator(model, not self.is_divided)
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _get_output_dir(self, trial: Any) -> str:
        if self._is_staging:
            return str(self.checkpoints.staging)
        return super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint aside, by all processes; the first one then publishes it.

        Raises:
            RunStopped: If it cannot be written, say because the disk is full.
        """
        if self.is_world_process_zero():
            self.checkpoints.clear_staging()
        self.accelerator.wait_for_everyone()
        step = self.state.global_step
        staged = self.checkpoints.staging / f"checkpoint-{step}"
        self._is_staging = True
        try:
            with clear_write_errors(staged):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.is_world_process_zero():
                    self.checkpoints.publish(staged, step)
        except OSError as error:
            self.checkpoints.clear_staging()
            raise RunStopped(
                f"stage {self.stage.name!r}: the checkpoint of step {step} is not saved: {error}; "
                f"{self.checkpoints.last_good()}. Go on with --resume"
            ) from error
        finally:
            self._is_staging = False
        self.accelerator.wait_for_everyone()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save what learns, as safetensors: nothing frozen, and no pickled arguments."""
        if not self.args.should_save:
            return
        parameters = dict(self._plain_model.named_parameters())
        learning = sorted(name for name, parameter in parameters.items() if parameter.requires_grad)
        tensors = parameters if state_dict is None else state_dict
        folder = Path(output_dir or self.checkpoints.path)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensors[name].detach().cpu().contiguous() for name in learning},
            folder / WEIGHTS,
        )
        if self.average is not None:
            self.average.save(folder)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        path = Path(resume_from_checkpoint) / WEIGHTS
        saved = load_file(path)
        learning = {
            name: parameter
            for name, parameter in (model or self._plain_model).named_parameters()
            if parameter.requires_grad
        }
        if differing := sorted(set(saved) ^ set(learning)):
            raise ValueError(
                f"{path} holds other weights than this stage trains: "
                f"{', '.join(differing[:4])} ({len(differing)} in all)"
            )
        with torch.no_grad():
            for name, parameter in learning.items():
                parameter.copy_(saved[name])
        if self.average is not None:
            self.average.load(path.parent)


def _failing_pictures(model: Any, pictures: Sequence[Any]) -> str:
    """Which pictures of a batch have no regions, for a message; "" if all of them have some."""
    names = []
    for picture in pictures:
        try:
            with torch.no_grad():
                model.see([picture])
        except ValueError:
            names.append(str(getattr(picture, "name", "a cached picture")))
    return f" ({', '.join(names[:NAMED_ROWS])})" if names else ""

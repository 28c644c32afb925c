"""One stage on transformers' Trainer: order and parts are ours, checkpoints are whole or absent,
resuming is exact.

After: LLaVA's trainer (groups of parameters by part); row D13.
Differs: the order of the samples is a function of (seed, step) and not of a sampler's state; a
checkpoint holds what learns, not the frozen rest; a loss that is not finite ends the run; every
step is logged.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from regiontok.settings.recipe import Stage
from regiontok.system.interrupt import ignore_stop_signals
from regiontok.train.batching import Order
from regiontok.train.build import groups
from regiontok.train.folder import publish, steps_kept
from regiontok.train.stopping import TrainingStopped

WEIGHTS = "model.safetensors"
STAGED = ".writing"


class StageTrainer(Trainer):
    """Trains one stage.

    Args:
        model: with the right parts set to learn.
        stage: of the recipe.
        dataset: what `order` indexes.
        collate: examples -> a batch for the model.
        order: see `Order`.
        checkpoints: folder.
        record: takes every entry of the log (in the first process).
        judge: (model, may it generate) -> metrics, for evaluation; None: no evaluation.
        name: what a row is called in messages.
        keep: checkpoints that stay.
        callbacks: of transformers' kind.
        options: further fields of `TrainingArguments`.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: Stage,
        *,
        dataset: Dataset[Any],
        collate: Callable[[list[Any]], dict[str, Any]],
        order: Order,
        checkpoints: Path,
        record: Callable[[dict[str, Any]], None],
        judge: Callable[[nn.Module, bool], dict[str, float]] | None = None,
        name: Callable[[Any], str] = str,
        keep: int = 2,
        callbacks: Sequence[TrainerCallback] = (),
        **options: Any,
    ) -> None:
        self.stage, self.order, self.record, self.judge, self.name, self.keep = (
            stage,
            order,
            record,
            judge,
            name,
            keep,
        )
        self._folder, self._staging, self._bare = checkpoints, False, model
        super().__init__(
            model,
            arguments(stage, order, checkpoints, **options),
            data_collator=collate,
            train_dataset=dataset,
            eval_dataset=dataset
            if judge
            else None,  # only asked whether there is one: `evaluate` is ours
            callbacks=list(callbacks),
        )
        # `forward` hands num_items_in_batch on: accumulation averages over tokens, not passes
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)  # the run's own log says it

    @property
    def divided(self) -> bool:
        """True under FSDP and DeepSpeed: no process holds the whole model."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Not prepared by accelerate: `Order` already gives this process its share."""
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

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a learning rate a part."""
        if self.optimizer is None:
            cls, words = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = cls(groups(self._bare, self.stage), **words)
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Into our log as it is, and to the trackers.

        Raises:
            TrainingStopped: a loss that is not finite; before anything of this step is saved.
        """
        if "loss" in logs and not (
            math.isfinite(logs["loss"]) and math.isfinite(float(logs.get("grad_norm", 0.0)))
        ):
            self._stop_at_nan(logs["loss"])
        super().log(logs, start_time)
        if self.is_world_process_zero() and "train_runtime" not in logs:
            kind = "step" if "loss" in logs else "eval"
            self.record(
                {
                    "kind": kind,
                    "step": self.state.global_step,
                    **{k: v for k, v in logs.items() if k != "epoch"},
                }
            )

    def _stop_at_nan(self, loss: float) -> None:
        step = self.state.global_step
        known = steps_kept(self._folder)
        batch = self.order.batches(step - 1)
        names = [self.name(row) for row in batch[:16]]
        last = (
            f"the last good checkpoint is {list(known.values())[-1]}"
            if known
            else "there is no checkpoint before it"
        )
        raise TrainingStopped(
            f"stage {self.stage.name!r}, step {step}: the loss is {loss} or its gradient is not finite; {last}. "
            f"The batch: {', '.join(names)}{' ...' if len(batch) > 16 else ''}. "
            f"Lower learning_rate ({self.stage.learning_rate}), raise warmup or set precision = 'fp32'"
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Judge the model on the held-out part; every process does all of it, so that divided
        models stay in step."""
        assert self.judge is not None
        # a divided model is whole in its own forward only, so that it cannot generate
        judged = self.judge(self.model_wrapped if self.divided else self._bare, not self.divided)
        found = {f"eval_{key}": value for key, value in judged.items()}
        self.log(dict(found))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._folder / STAGED) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Written aside by all processes, then renamed by the first."""
        staged = self._folder / STAGED
        if self.is_world_process_zero():
            shutil.rmtree(staged, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._staging = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = False
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            publish(staged / f"checkpoint-{self.state.global_step}", self._folder, keep=self.keep)
            shutil.rmtree(staged)
        self.accelerator.wait_for_everyone()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """What learns, as safetensors: nothing frozen, and no pickled arguments."""
        if not self.args.should_save:
            return
        named = dict(self._bare.named_parameters())
        learning = {name for name, parameter in named.items() if parameter.requires_grad}
        held = named if state_dict is None else state_dict
        folder = Path(output_dir or self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: held[name].detach().cpu().contiguous() for name in sorted(learning)},
            folder / WEIGHTS,
        )

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        path = Path(resume_from_checkpoint) / WEIGHTS
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = load_file(path)
        learning = {
            name: p for name, p in (model or self._bare).named_parameters() if p.requires_grad
        }
        if set(saved) != set(learning):
            odd = sorted(set(saved) ^ set(learning))
            raise ValueError(
                f"{path} holds other weights than this stage trains: {', '.join(odd[:4])} ({len(odd)} in all)"
            )
        with torch.no_grad():
            for name, parameter in learning.items():
                parameter.copy_(saved[name])


def arguments(stage: Stage, order: Order, folder: Path, **options: Any) -> TrainingArguments:
    """A stage as transformers' arguments."""
    bf16 = (
        stage.precision == "bf16" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    )
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=order.division.each,
        gradient_accumulation_steps=order.division.accumulate,
        num_train_epochs=1,
        max_steps=order.steps,
        learning_rate=stage.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(stage.schedule, stage.schedule),
        warmup_steps=math.ceil(stage.warmup * order.steps),
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        optim="adamw_torch",
        bf16=bf16,
        seed=stage.seed,
        data_seed=stage.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        logging_strategy="steps",
        remove_unused_columns=False,
        label_names=["labels"],
        ignore_data_skip=True,
        disable_tqdm=True,
        save_total_limit=None,
        ddp_find_unused_parameters=False,
        **options,
    )

"""One stage of a run: its data, its trainer, its checkpoints, and the model it leaves behind."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from regiontok.model.block_attention import attention_by_blocks, computes_by_blocks
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.supervised import keeps_supervised
from regiontok.model.vlm import RegionVLM
from regiontok.runs.errors import RunStopped
from regiontok.runs.folder import recent_loss
from regiontok.runs.trackers import tensorboard_writer
from regiontok.settings.recipe import Recipe
from regiontok.system.errors import first_line, is_out_of_memory
from regiontok.system.files import replacing
from regiontok.system.pretrained import quiet_transformers
from regiontok.system.weights import tensors_only
from regiontok.system.writing import clear_write_errors
from regiontok.train.arguments import idle_gpus_note, precision_note
from regiontok.train.averaging import WeightAverage
from regiontok.train.batching import BatchOrder, Division, divide_batch
from regiontok.train.build import BuiltModel, load_tokenizer, loads_bfloat16, model_settings
from regiontok.train.estimate import most_samples
from regiontok.train.evaluate import evaluate_vlm
from regiontok.train.folder import TrainFolder
from regiontok.train.options import TrainOptions
from regiontok.train.parts import (
    check_divided_lora,
    merge_lora,
    merge_lora_state,
    parameter_counts,
    set_trainable,
    training_mode,
)
from regiontok.train.stage_data import StageData, load_stage_data
from regiontok.train.stopping import StopAfter, memory_advice
from regiontok.train.trainer import StageTrainer
from regiontok.train.trial import try_stage

CPU_SAMPLES = 16  # of one pass at most, where no formula says what fits


def load_stage_model(recipe: Recipe, folder: Path) -> BuiltModel:
    """The model that a finished stage left in a folder."""
    model = RegionVLM.from_pretrained(folder, dtype=torch.float32)
    if loads_bfloat16(recipe):
        model.language_model.to(torch.bfloat16)
    return BuiltModel(model, load_tokenizer(model_settings(recipe)))


class StageRun:
    """One stage of a run.

    Args:
        recipe: the resolved recipe.
        index: the stage's place in the recipe, from 0.
        built: the model as the stage before left it; `built` is the trained one afterwards.
        folder: the run's folder.
        options: where and how the run is carried out.
        is_first: whether this is the first process, the only one that writes.
        tell: called with every entry of the log, in the first process.
    """

    def __init__(
        self,
        recipe: Recipe,
        index: int,
        built: BuiltModel,
        *,
        folder: TrainFolder,
        options: TrainOptions,
        is_first: bool,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.recipe, self.index, self.built, self.folder = recipe, index, built, folder
        self.options, self.is_first, self.tell = options, is_first, tell
        self.stage = recipe.stage[index]
        self.checkpoints = folder.checkpoints(index, self.stage.name, keep=options.keep)

    def train(self, stop: StopAfter) -> dict[str, Any]:
        """Train the stage from its last checkpoint on, and save it once it is done.

        Args:
            stop: ends the stage early, with a checkpoint.

        Returns:
            Its metrics; only the `step` that was reached if it was ended early.
        """
        started = time.perf_counter()
        # a stage may have another precision than the one before
        for state in (AcceleratorState, GradientState):
            state._reset_state()
        damaged = self.checkpoints.set_aside_damaged() if self.is_first else []
        PartialState().wait_for_everyone()
        checkpoints = self.checkpoints.by_step()
        step = max(checkpoints, default=0)
        set_trainable(self.built.model, self.stage)
        self._begin_log(step, damaged)
        trainer = self._trainer(step, stop)
        if trainer.is_divided and self.stage.lora:
            check_divided_lora(self.built.model, self.stage)
        if self.is_first and not step:
            asks = self.options.held_out and self.options.answers and not trainer.is_divided
            try_stage(self.built.model, self.stage, answers=bool(asks))
        with training_mode(self.built.model, self.stage), self._attention(trainer):
            self._run_trainer(trainer, checkpoints.get(step))
        if stop.stopped:
            return {"step": trainer.state.global_step}
        if trainer.average is not None:
            trainer.average.apply()
        metrics = self._metrics(trainer, time.perf_counter() - started)
        self._save(trainer, metrics)
        # autocast would stay around the model's forward: the next stage asks what it computes
        trainer.accelerator.unwrap_model(self.built.model, keep_fp32_wrapper=False)
        if trainer.is_divided:
            saved = self.folder.stage_model(self.index, self.stage.name)
            self.built = load_stage_model(self.recipe, saved)
        return metrics

    @cached_property
    def data(self) -> StageData:
        """The stage's samples."""
        # the first process measures what has no known length, the others read it
        with PartialState().main_process_first():
            return load_stage_data(
                self.recipe,
                self.stage,
                tokenizer=self.built.tokenizer,
                placeholder=self.built.model.config.image_token_id,
                held_out=self.options.held_out,
                cache=self.options.cache,
                folder=self.folder.measured,
                device=str(PartialState().device),
            )

    @cached_property
    def division(self) -> Division:
        """How a step's batch is divided among processes and passes."""
        return divide_batch(
            self.stage.batch,
            processes=PartialState().num_processes,
            most_per_device=self.options.per_device or self._most_per_device(),
        )

    def _most_per_device(self) -> int:
        """Samples of one pass that fit on a device, by the formulas."""
        if self.options.device == "cpu" or not torch.cuda.is_available():
            return CPU_SAMPLES
        return most_samples(
            self.built.model,
            self.stage,
            row=self.data.longest,
            memory=torch.cuda.get_device_properties(0).total_memory,
            half=loads_bfloat16(self.recipe),
        )

    def _begin_log(self, step: int, notes: Sequence[str]) -> None:
        """Forget what was logged after the checkpoint, and log the start of the stage.

        Args:
            step: steps of the stage that were taken.
            notes: what is to be said at its start, before what its data has to say.
        """
        entry = {
            "kind": "stage",
            "step": step,
            "name": self.stage.name,
            "steps": self.data.steps,
            **asdict(self.division),
            "samples": self.data.samples,
            "set_aside": self.data.set_aside,
            "cut": int(self.data.measure.cut[self.data.measure.keep].sum()),
            "images_without_masks": self.data.measure.images_without_masks,
            "parts": parameter_counts(self.built.model),
        }
        if self.is_first:
            self.folder.rewind_to(self.index, step)
        device = self.options.device
        of_machine = (idle_gpus_note(device), precision_note(self.stage, device))
        for text in filter(None, [*notes, *of_machine, *self.data.notes]):
            self._record({"kind": "note", "step": step, "text": text})
        self._record(entry)

    def _trainer(self, step: int, stop: StopAfter) -> StageTrainer:
        options, data = self.options, self.data
        rank = PartialState().process_index
        average = None
        if self.stage.average:
            average = WeightAverage(self.built.model, self.stage.average)
        return StageTrainer(
            self.built.model,
            self.stage,
            dataset=data.dataset,
            collate=data.collate,
            order=BatchOrder(data.rows_of_step, data.steps, self.division, rank, step),
            checkpoints=self.checkpoints,
            record=self._record,
            evaluator=self._evaluate if options.held_out else None,
            row_name=data.row_name,
            epoch_of_step=data.epoch_of_step,
            supervised_only=keeps_supervised(self.built.model),
            average=average,
            callbacks=[stop, *self._tensorboard()],
            save_strategy="steps",
            save_steps=options.save_every,
            eval_strategy="steps" if options.evaluate_every else "no",
            eval_steps=options.evaluate_every or None,
            dataloader_num_workers=options.workers or 0,
            use_cpu=options.device == "cpu",
            report_to=[options.tracker] if options.tracker in ("trackio", "wandb") else [],
        )

    def _attention(self, trainer: StageTrainer) -> AbstractContextManager[None]:
        """Attention by blocks, where questions are independent and the language model can."""
        model = self.built.model
        if self.stage.turns != "independent" or not trainer.supervised_only:
            return nullcontext()
        return attention_by_blocks(model) if computes_by_blocks(model) else nullcontext()

    def _tensorboard(self) -> list[TrainerCallback]:
        """TensorBoard's callback, whose files lie in the run's folder, if it is asked for."""
        if self.options.tracker != "tensorboard":
            return []
        curve = f"{self.index + 1}_{self.stage.name}"
        return [TensorBoardCallback(tensorboard_writer(self.folder.path, curve))]

    def _evaluate(self, model: torch.nn.Module, can_generate: bool) -> dict[str, float]:
        return evaluate_vlm(
            model,
            self.data.held_out(),
            collate=self.data.collate,
            tokenizer=self.built.tokenizer,
            per_pass=self.division.per_device,
            answers=self.options.answers if can_generate else 0,
        )

    def _run_trainer(self, trainer: StageTrainer, checkpoint: Path | None) -> None:
        try:
            with tensors_only():
                trainer.train(
                    resume_from_checkpoint=None if checkpoint is None else str(checkpoint)
                )
        except UnpicklingError as error:
            raise RunStopped(
                f"{checkpoint} was not read: it holds more than tensors and numbers, which could "
                f"be code ({first_line(error)}). Delete {checkpoint}, and say --resume again"
            ) from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            step = trainer.state.global_step + 1
            raise RunStopped(
                f"stage {self.stage.name!r}: out of memory at step {step}. "
                f"What to lower, cheapest first: {memory_advice(self.stage, self.division)}. "
                "Go on with --resume"
            ) from error

    def _metrics(self, trainer: StageTrainer, seconds: float) -> dict[str, Any]:
        """What is said of a finished stage."""
        steps = [
            entry
            for entry in self.folder.entries()
            if entry["stage"] == self.index + 1 and entry["kind"] == "step"
        ]
        metrics: dict[str, Any] = {"step": trainer.state.global_step, "seconds": seconds}
        if steps:
            metrics["loss"] = recent_loss(steps)
        if trainer.evaluator is not None:
            metrics |= trainer.evaluate()
        return metrics

    def _save(self, trainer: StageTrainer, metrics: dict[str, Any]) -> None:
        """Save the stage's model with LoRA merged; its checkpoints are no longer needed."""
        model, state = self.built.model, None
        if trainer.is_divided:
            # every process takes part in gathering, the first one gets it all
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            if self.stage.lora and self.is_first:
                state = merge_lora_state(model, state)
                with torch.device("meta"):
                    model = RegionVLM(model.config)
        else:
            merge_lora(model)
        self.built.model.requires_grad_(True)
        if self.is_first:
            self.folder.add_metrics(self.stage.name, metrics)
            saved = self.folder.stage_model(self.index, self.stage.name)
            with clear_write_errors(saved), replacing(saved) as temporary:
                with quiet_transformers():  # a bar of a file or two in the middle of a log
                    model.save_pretrained(temporary, state_dict=state)
                self._processor().save_pretrained(temporary)
            shutil.rmtree(self.checkpoints.path, ignore_errors=True)
        self._record({"kind": "done", **metrics})
        PartialState().wait_for_everyone()

    def _processor(self) -> RegionVLMProcessor:
        """A processor whose chat template asks as this stage was trained.

        It has its own tokenizer: the next stage may take the language model's own template.
        """
        tokenizer = copy.deepcopy(self.built.tokenizer)
        tokenizer.chat_template = self.data.chat_template
        return RegionVLMProcessor(tokenizer)

    def _record(self, entry: dict[str, Any]) -> None:
        """Log an entry of this stage, in the first process."""
        if self.is_first:
            entry = {"stage": self.index + 1, **entry}
            self.folder.record(entry)
            self.tell(entry)

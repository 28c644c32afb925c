"""A stage as the arguments of transformers' Trainer, for a process that trains on one device.

Without a launcher Trainer wraps the model in nn.DataParallel where there are several GPUs, which
divides the ids of a batch among them, but hands the list of its pictures to each.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainingArguments

from regiontok.settings.recipe import Stage
from regiontok.train.batching import BatchOrder


class OneDeviceArguments(TrainingArguments):
    """`TrainingArguments` of a process that trains on one GPU, however many there are."""

    @property
    def n_gpu(self) -> int:
        """GPUs of this process: 1, or 0 on a CPU."""
        return min(super().n_gpu, 1)


def training_arguments(
    stage: Stage, order: BatchOrder, folder: Path, **arguments: Any
) -> TrainingArguments:
    """A stage as transformers' arguments.

    Args:
        stage: the stage of the recipe.
        order: which knows the division of a batch and the number of steps.
        folder: the output folder.
        arguments: further fields.
    """
    schedules = {"constant": "constant_with_warmup"}
    return OneDeviceArguments(
        output_dir=str(folder),
        per_device_train_batch_size=order.division.per_device,
        gradient_accumulation_steps=order.division.accumulate,
        num_train_epochs=1,
        max_steps=order.steps,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=schedules.get(stage.schedule, stage.schedule),
        warmup_steps=math.ceil(stage.warmup * order.steps),
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        optim="adamw_torch",
        adam_beta1=stage.betas[0],
        adam_beta2=stage.betas[1],
        bf16=stage.precision == "bf16" and computes_bfloat16(cpu=bool(arguments.get("use_cpu"))),
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
        **arguments,
    )


def computes_bfloat16(*, cpu: bool) -> bool:
    """Whether this machine has instructions for bfloat16.

    A CPU without them computes it too, but slower than float32.

    Args:
        cpu: whether the run was asked to stay on the CPU; without a GPU it does so anyway.
    """
    if not cpu and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def precision_note(stage: Stage, device: str) -> str:
    """That a stage asks for bfloat16 and is computed in float32; "" if it is not so.

    Args:
        stage: the stage.
        device: the device that the run was asked to take.
    """
    if stage.precision != "bf16" or computes_bfloat16(cpu=device == "cpu"):
        return ""
    return (
        f"stage {stage.name!r} asks for bf16, for which this hardware has no instructions: it is "
        "computed in float32"
    )


def idle_gpus_note(device: str) -> str:
    """What to do for the GPUs that this run leaves idle; "" if it leaves none.

    Args:
        device: the device that the run was asked to take.
    """
    if device == "cpu" or not torch.cuda.is_available() or PartialState().num_processes > 1:
        return ""
    count = torch.cuda.device_count()
    if count < 2:
        return ""
    return (
        f"{count} GPUs are here, and this run takes one of them; to train on all, start it by "
        f"`accelerate launch --config_file .../regiontok/train/configs/ddp.yaml --num_processes "
        f"{count} -m regiontok.cli.app train ...`"
    )

"""Several GPUs without a launcher: one of them trains, and what to do for the others is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import PartialState
from torch.nn.parallel import scatter_gather
from transformers import TrainingArguments

from regiontok.core.picture import Picture
from regiontok.train.arguments import (
    OneDeviceArguments,
    computes_bfloat16,
    idle_gpus_note,
    precision_note,
    training_arguments,
)
from regiontok.train.batching import BatchOrder, Division
from regiontok.train.build import build_model
from regiontok.train.folder import TrainFolder
from samples.training import ALIGN, run_recipe, toy_recipe


@pytest.fixture
def two_gpus(monkeypatch):
    PartialState(cpu=True)  # accelerate asks torch for devices once in a process
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_what_to_do_for_idle_gpus_is_said(two_gpus, monkeypatch):
    assert idle_gpus_note("cpu") == ""
    note = idle_gpus_note("auto")
    assert note.startswith("2 GPUs are here, and this run takes one of them; to train on all")
    assert "--num_processes 2" in note
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert idle_gpus_note("auto") == ""


@pytest.mark.parametrize(("has", "computed"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_computed_where_a_cpu_has_it_and_else_it_is_said(
    has, computed, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert computes_bfloat16(cpu=True) == has
    (stage,) = toy_recipe({**ALIGN, "precision": "bf16"}).stage
    order = BatchOrder(lambda step: [0], 1, Division(1, 1, 1), 0)
    arguments = training_arguments(stage, order, tmp_path, use_cpu=True)
    assert arguments.bf16 == has
    layer = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
        assert layer(torch.zeros(1, 4)).dtype == computed
    assert ("computed in float32" in precision_note(stage, "cpu")) != has
    (exact,) = toy_recipe({**ALIGN, "precision": "fp32"}).stage
    assert precision_note(exact, "cpu") == ""
    assert not training_arguments(exact, order, tmp_path, use_cpu=True).bf16


@pytest.mark.slow
def test_it_stands_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("regiontok.train.stage_run.idle_gpus_note", lambda device: "2 GPUs")
    run_recipe(toy_recipe({**ALIGN, "steps": 1}), tmp_path / "run")
    (note,) = [entry for entry in TrainFolder(tmp_path / "run").entries() if "text" in entry]
    assert note["text"] == "2 GPUs"


@pytest.mark.parametrize(("gpus", "taken"), [(0, 0), (1, 1), (4, 1)])
def test_trainer_never_divides_a_batch_by_itself(monkeypatch, tmp_path, gpus, taken):
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: gpus))
    arguments = OneDeviceArguments(str(tmp_path), use_cpu=True, per_device_train_batch_size=3)
    assert arguments.n_gpu == taken
    assert arguments.train_batch_size == 3


def test_a_batch_that_dataparallel_has_divided_says_what_to_do(monkeypatch):
    class Chunks:
        """torch's scatter with pieces on the CPU in the place of GPUs."""

        @staticmethod
        def apply(devices, _sizes, dim, value):
            return value.chunk(len(devices), dim)

    monkeypatch.setattr(scatter_gather, "Scatter", Chunks)
    model = build_model(toy_recipe(ALIGN)).model
    ids = torch.tensor([[3, 9, 11], [3, 8, 12]])
    pictures = [Picture.of(np.zeros((20, 30, 3), np.uint8))] * 2
    batch = {"input_ids": ids, "pictures": pictures}
    first, _ = scatter_gather.scatter(batch, [0, 1])
    with pytest.raises(
        ValueError, match=r"hold 1 image .* 2 images were given; if nn.DataParallel"
    ):
        model(**first)

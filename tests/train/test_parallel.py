"""Several processes on a CPU: DDP gives one process's curve, torch's fully_shard its loss."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.resources import files

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

CONFIGS = files("regiontok.train") / "configs"

RECIPE = """
what = "test"
[tokenizer]
encoder = "filters(size=56)"
regions = "windows(2)"
[model]
language_model = "mini(width=32, layers=2, heads=2)"
[[stage]]
name = "one"
train = ["connector", "language_model"]
batch = 4
steps = 4
precision = "fp32"
[[stage.data]]
records = "miniworld(12, size=64)"
"""

DDP = """
import sys
from regiontok.settings.recipe import load_recipe
from regiontok.train.options import TrainOptions
from regiontok.train.run import train
options = TrainOptions(device="cpu", per_device=1, held_out=2)
train(load_recipe(sys.argv[1]), sys.argv[2], options=options, resume=len(sys.argv) > 3)
"""

SHARD = """
import sys, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from regiontok.settings.recipe import load_recipe
from regiontok.train.build import build_model
from regiontok.train.parts import set_trainable
from regiontok.train.stage_data import load_stage_data
dist.init_process_group("gloo")
recipe = load_recipe(sys.argv[1])
built = build_model(recipe)
model = set_trainable(built.model, recipe.stage[0])
data = load_stage_data(
    recipe, recipe.stage[0], tokenizer=built.tokenizer, placeholder=model.config.image_token_id
)
batch = data.collate([data.dataset[row] for row in data.rows_of_step(0)])
def squared_norm(gradient):
    whole = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return float(whole.norm() ** 2)
def step(model):
    loss = model(**batch).loss
    loss.backward()
    norm = sum(squared_norm(parameter.grad) for parameter in model.parameters())
    model.zero_grad()
    return float(loss), norm ** 0.5
alone = step(model)
mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
for layer in model.language_model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
shared = step(model)
local = sum(parameter.to_local().numel() for parameter in model.parameters())
share = local / sum(parameter.numel() for parameter in model.parameters())
if dist.get_rank() == 0:
    print("RESULT", alone[0], shared[0], alone[1], shared[1], share)
dist.destroy_process_group()
"""


def launch(script, *words, processes=2):
    """Run a script in so many processes; returns what the first one printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        "--master-port",
        str(port),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    finished = subprocess.run(
        [*command, *map(str, (script, *words))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


def steps(out):
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    curve = [(entry["loss"], entry["grad_norm"]) for entry in entries if entry["kind"] == "step"]
    return curve, entries


@pytest.mark.slow
def test_ddp_gives_the_curve_of_one_process_and_resumes(tmp_path):
    recipe, script = tmp_path / "toy.toml", tmp_path / "script.py"
    recipe.write_text(RECIPE)
    script.write_text(DDP)
    launch(script, recipe, tmp_path / "two")
    launch(script, recipe, tmp_path / "one", processes=1)
    two_processes, entries = steps(tmp_path / "two")
    one_process, _ = steps(tmp_path / "one")
    division = [entries[0][name] for name in ("processes", "per_device", "accumulate")]
    assert division == [2, 1, 2]
    assert len(two_processes) == len(one_process) == 4
    for (loss, norm), (other, other_norm) in zip(two_processes, one_process, strict=True):
        assert loss == pytest.approx(other, abs=2e-4)
        assert norm == pytest.approx(other_norm, rel=2e-3)
    launch(script, recipe, tmp_path / "two", "resume")  # nothing is left to do, in every process
    assert steps(tmp_path / "two")[0] == two_processes


@pytest.mark.slow
def test_fully_shard_gives_the_loss_and_gradient_of_one_process(tmp_path):
    """Accelerate's FSDP falls back to DDP on a CPU, so torch's own is asked."""
    recipe, script = tmp_path / "toy.toml", tmp_path / "script.py"
    recipe.write_text(RECIPE)
    script.write_text(SHARD)
    line = next(line for line in launch(script, recipe).splitlines() if line.startswith("RESULT"))
    loss, shared_loss, norm, shared_norm, share = map(float, line.split()[1:])
    assert shared_loss == pytest.approx(loss, abs=1e-5)
    assert shared_norm == pytest.approx(norm, rel=1e-4)
    assert share == pytest.approx(0.5, abs=0.01)  # of every weight, one process holds half


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("one", DistributedType.NO),
        ("ddp", DistributedType.MULTI_GPU),
        ("fsdp2", DistributedType.FSDP),
        ("zero3", DistributedType.DEEPSPEED),
    ],
)
def test_accelerate_reads_the_shipped_configs(name, kind):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type == kind
    assert config.mixed_precision == "bf16"
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if name == "zero3":
        assert config.deepspeed_config["zero_stage"] == 3


def test_every_shipped_config_is_known():
    assert sorted(path.name for path in CONFIGS.iterdir()) == [
        "ddp.yaml",
        "fsdp2.yaml",
        "one.yaml",
        "zero3.yaml",
    ]

"""Several processes on a CPU: DDP gives one process's curve, torch's fully_shard its loss;
accelerate reads the shipped configs."""

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
from regiontok.train.options import Options
from regiontok.train.run import train
train(load_recipe(sys.argv[1]), sys.argv[2], options=Options(device="cpu", per_device=1, held_out=2), resume=len(sys.argv) > 3)
"""

SHARD = """
import sys, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from regiontok.settings.recipe import load_recipe
from regiontok.train.build import build, choose
from regiontok.train.feed import feed
dist.init_process_group("gloo")
recipe = load_recipe(sys.argv[1])
built = build(recipe)
model = choose(built.model, recipe.stage[0])
rows = feed(recipe, recipe.stage[0], tokenizer=built.tokenizer, placeholder=model.config.image_token_id)
batch = rows.collate([rows.dataset[row] for row in rows.at(0)])
def step(model):
    loss = model(**batch).loss
    loss.backward()
    norm = sum(float((p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad).norm() ** 2) for p in model.parameters())
    model.zero_grad()
    return float(loss), norm ** 0.5
alone = step(model)
mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
for layer in model.language_model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
shared = step(model)
held = sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in model.parameters())
if dist.get_rank() == 0:
    print("RESULT", alone[0], shared[0], alone[1], shared[1], held)
dist.destroy_process_group()
"""


def launch(script, *words, processes=2):
    """Run a script in so many processes; what the first printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
    done = subprocess.run(
        [*command, *map(str, (script, *words))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def steps(out):
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [
        (entry["loss"], entry["grad_norm"]) for entry in entries if entry["kind"] == "step"
    ], entries


@pytest.mark.slow
def test_ddp_gives_the_curve_of_one_process_and_resumes(tmp_path):
    recipe, script = tmp_path / "toy.toml", tmp_path / "script.py"
    recipe.write_text(RECIPE)
    script.write_text(DDP)
    launch(script, recipe, tmp_path / "two")
    launch(script, recipe, tmp_path / "one", processes=1)
    two, entries = steps(tmp_path / "two")
    one, _ = steps(tmp_path / "one")
    assert (entries[0]["world"], entries[0]["each"], entries[0]["accumulate"]) == (2, 1, 2)
    assert len(two) == len(one) == 4
    for (loss, norm), (other, other_norm) in zip(two, one, strict=True):
        assert loss == pytest.approx(other, abs=2e-4)
        assert norm == pytest.approx(other_norm, rel=2e-3)
    launch(script, recipe, tmp_path / "two", "resume")  # nothing is left to do, in every process
    assert steps(tmp_path / "two")[0] == two


@pytest.mark.slow
def test_fully_shard_gives_the_loss_and_gradient_of_one_process(tmp_path):
    """Accelerate's FSDP falls back to DDP on a CPU, so torch's own is asked."""
    recipe, script = tmp_path / "toy.toml", tmp_path / "script.py"
    recipe.write_text(RECIPE)
    script.write_text(SHARD)
    line = next(line for line in launch(script, recipe).splitlines() if line.startswith("RESULT"))
    loss, shared_loss, norm, shared_norm, held = map(float, line.split()[1:])
    assert shared_loss == pytest.approx(loss, abs=1e-5)
    assert shared_norm == pytest.approx(norm, rel=1e-4)
    assert held == pytest.approx(0.5, abs=0.01)  # of every weight, one process holds half


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
    found = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert found.distributed_type == kind
    assert found.mixed_precision == "bf16"
    if name == "fsdp2":
        assert found.fsdp_config["fsdp_version"] == 2
    if name == "zero3":
        assert found.deepspeed_config["zero_stage"] == 3


def test_every_shipped_config_is_known():
    assert sorted(path.name for path in CONFIGS.iterdir()) == [
        "ddp.yaml",
        "fsdp2.yaml",
        "one.yaml",
        "zero3.yaml",
    ]

"""tools/ship_encoder.py: a pretraining run becomes an encoder of the package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regiontok.core.picture import Picture
from regiontok.jobs.pretrain import pretrain
from regiontok.miniworld.world import World
from regiontok.pretrain.options import PretrainOptions
from regiontok.rice.export import load_regions
from regiontok.settings.registry import build
from regiontok.system import shipped_encoders

SCRIPT = Path(__file__).parents[2] / "tools" / "ship_encoder.py"


@pytest.fixture(scope="module")
def tool():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("tools_ship_encoder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_run_becomes_an_encoder_that_is_called_by_its_name(tool, tmp_path, monkeypatch):
    changed = [
        "pretrain.data=[{shards='world(8, size=128, kmeans=4)'}]",
        "pretrain.object.classes=4",
        "pretrain.stage=[{name='a', size=64, steps=2, batch=4}]",
        "pretrain.evaluate.shards=\"world(4, size=128, split='val')\"",
    ]
    pretrain(
        "miniworld/pretrain_rice",
        tmp_path / "run",
        overrides=changed,
        options=PretrainOptions(device="cpu"),
    )
    monkeypatch.setattr(tool, "COMPARED", 2)
    monkeypatch.setattr(tool, "JUDGED", 16)
    facts = tool.ship(tmp_path / "run", "mini-toy", out=tmp_path / "shipped")
    folder = tmp_path / "shipped" / "mini-toy"
    assert json.loads((folder / "shipped.json").read_text()) == facts
    tensors = load_file(folder / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    assert sum(value.numel() for value in tensors.values()) == facts["parameters"]
    assert facts["trained"]["steps"] == 2
    # its own settings, so that no recipe of the package is this very one
    assert facts["command"] == "regiontok pretrain pretrain_rice.toml --out run --device cpu"
    assert 0 < facts["rounding"]["largest_difference_of_features"] < 0.2
    assert 0 <= facts["regions"]["right"]["colour"]["accuracy"] <= 1
    monkeypatch.setattr(shipped_encoders, "FOLDER", tmp_path / "shipped")
    encoder = build("encoder", "transformers('mini-toy')")
    (grid,) = encoder.encode([Picture.of(World("test", size=128)[0].pixels)])
    assert grid.features.shape == (8, 8, 64)
    assert load_regions("mini-toy").layer.form == "pool"  # its region rows come along


def test_an_unfinished_run_is_refused(tool, tmp_path):
    with pytest.raises(ValueError, match="is not finished: there is no encoder"):
        tool.ship(tmp_path, "mini-toy", out=tmp_path / "shipped")

"""What vLLM finds under its entry point, without vLLM."""

from __future__ import annotations

import importlib.util
import logging
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

from transformers import AutoConfig

from regiontok.model.config import RegionVLMConfig
from regiontok.serve.vllm_plugin import MODELS, register

ROOT = Path(__file__).parents[2]


class Registry:
    """vLLM's registry of models, as far as it is asked."""

    def __init__(self):
        self.places = {"LlamaForCausalLM": "vllm's own"}

    def get_supported_archs(self):
        return set(self.places)

    def register_model(self, architecture, place):
        assert architecture not in self.places
        self.places[architecture] = place


def test_models_are_named_once_however_often_vllm_asks(monkeypatch):
    registry = Registry()
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(ModelRegistry=registry))
    register()
    register()
    assert {name: registry.places[name] for name in MODELS} == MODELS
    assert AutoConfig.for_model("regiontok_vlm").__class__ is RegionVLMConfig
    for place in MODELS.values():
        module, _, name = place.partition(":")
        source = Path(importlib.util.find_spec(module).origin).read_text()
        assert f"class {name}(" in source


def test_a_server_lives_on_when_nothing_can_be_named(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "vllm", None)  # an import of it fails
    with caplog.at_level(logging.WARNING):
        register()
    assert "cannot be served here" in caplog.text


def test_the_entry_point_is_this_function():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"]
    assert groups["vllm.general_plugins"] == {"regiontok": f"{register.__module__}:register"}

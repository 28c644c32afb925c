"""Devices by name: one clear error, wherever a device is asked for that is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok import Picture, RegionTokenizer
from regiontok.system.devices import NoDevice, device_kind, resolve_device
from regiontok.tokenizer.regionizer import build_encoder

PICTURE = Picture.of(np.zeros((8, 8, 3), np.uint8))


@pytest.fixture
def gpus(monkeypatch):
    """A function that lets torch find so many GPUs."""

    def find(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.xpu, "is_available", lambda: False)

    return find


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("banana", 1, "unknown device 'banana'; known: auto, cpu, cuda"),
        ("cud", 1, "did you mean 'cuda'"),
        ("cuda:", 1, "unknown device 'cuda:'"),
        ("", 1, "unknown device ''"),
        ("cuda", 0, "device 'cuda': torch finds no GPU here; choose 'cpu' or 'auto'"),
        ("cuda:0", 0, "torch finds no GPU here"),
        ("mps", 2, "torch finds no mps device here"),
        ("cuda:1", 1, "device 'cuda:1': torch finds 1 here, cuda:0$"),
        ("cuda:7", 2, "torch finds 2 here, cuda:0 to cuda:1$"),
    ],
)
def test_a_device_that_is_not_there_is_one_clear_error(gpus, name, count, message):
    gpus(count)
    with pytest.raises(NoDevice, match=message):
        resolve_device(name)


def test_auto_is_a_gpu_where_there_is_one(gpus):
    gpus(0)
    assert resolve_device("auto") == "cpu"
    gpus(2)
    assert [resolve_device(name) for name in ("auto", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    assert device_kind("cuda:1") == "cuda"


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegionTokenizer("filters(size=56)", device="cuda"),
        lambda: RegionTokenizer("lite", device="cuda"),
        lambda: build_encoder("lite(device='cuda')").encode([PICTURE]),
        lambda: build_encoder("filters(size=56, device='cuda')").encode([PICTURE]),
    ],
)
def test_the_python_classes_say_the_same(gpus, make):
    gpus(0)
    with pytest.raises(NoDevice, match="torch finds no GPU here"):
        make()

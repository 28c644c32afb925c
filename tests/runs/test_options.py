"""Options are checked when they are made, those of both loops alike."""

from __future__ import annotations

import pytest
import torch

from regiontok.pretrain.options import PretrainOptions
from regiontok.runs.options import RunOptions
from regiontok.train.options import TrainOptions


@pytest.mark.parametrize("kind", [RunOptions, TrainOptions, PretrainOptions])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_device": -1}, "per_device is 0 or more, not -1"),
        ({"workers": -1}, "workers is 0 or more"),
        ({"save_every": 0}, "save_every is at least 1"),
        ({"keep": 0}, "keep is at least 1"),
        ({"stop_after": 0}, "stop_after is at least 1"),
        ({"device": "cud"}, r"unknown device 'cud' \(did you mean"),
        ({"device": "cuda:1"}, "a run takes device 'auto', 'cpu' or 'cuda', not 'cuda:1'; one"),
    ],
)
def test_a_number_out_of_its_range_or_an_unknown_device_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_options_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        TrainOptions(4)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    RunOptions(device="auto").check_device()
    RunOptions(device="cpu").check_device()
    with pytest.raises(ValueError, match="torch finds no GPU here; choose 'cpu' or 'auto'"):
        RunOptions(device="cuda").check_device()

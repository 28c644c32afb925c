"""`regiontok train` and `regiontok pretrain` have the same flags for the same things."""

from __future__ import annotations

import inspect

import pytest
from typer.testing import CliRunner

from regiontok.cli.app import app
from regiontok.cli.training import pretrain, train

SHARED = {
    "recipe", "overrides", "out", "scale", "resume", "dry_run", "hardware", "per_device",
    "save_every", "keep", "workers", "stop_after", "device", "shard", "cache", "tracker",
}  # fmt: skip


def test_flags_of_both_commands_have_one_name_and_one_help_text():
    train_flags, pretrain_flags = (
        {name: flag.annotation for name, flag in inspect.signature(command).parameters.items()}
        for command in (train, pretrain)
    )
    assert set(train_flags) & set(pretrain_flags) == SHARED
    for name in SHARED:
        assert train_flags[name] == pretrain_flags[name]


@pytest.mark.parametrize("command", ["train", "pretrain"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "banana"], "unknown device 'banana'"),
        (["--device", "cuda"], "torch finds no GPU here"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(command, flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recipe = {"train": "train/colour", "pretrain": "rice/pretrain_b16"}[command]
    out = tmp_path / "run"
    result = CliRunner().invoke(app, [command, recipe, "--out", str(out), *flags])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()

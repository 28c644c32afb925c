"""The app: its commands, its version, and that a flag means one thing wherever it stands."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version

import pytest
import typer

from regiontok.cli.app import app
from samples.command_line import regiontok

COMMANDS = {
    "demo",
    "tokenize",
    "view",
    "frontier",
    "diagnose measure",
    "diagnose figure",
    "train",
    "chat",
    "answer",
    "score",
    "report",
    "compare",
    "focus",
    "export",
    "shards",
    "pretrain",
    "ls",
    "show",
    "check",
    "masks build",
    "masks info",
    "masks verify",
    "masks merge",
    "curate run",
    "curate status",
    "curate verify",
    "curate report",
    "miniworld",
    "study",
    "migrate og_llava",
    "probe regions",
    "probe detect",
    "probe track",
    "probe refer",
    "probe pictures pca",
    "probe pictures sphere",
    "probe pictures distances",
}
# These find a GPU by themselves, where the other commands want it named.
TRAINERS = ("train", "pretrain", "probe detect", "probe track", "probe refer")
SHARED_FLAGS = {
    "--batch",
    "--device",
    "--dry-run",
    "--encoder",
    "--humans",
    "--regions",
    "--resume",
    "--scale",
    "--segmenter",
}


def commands(group=None, prefix=""):
    """Whole name of each command -> the command."""
    named = {}
    for word, command in (group or typer.main.get_command(app)).commands.items():
        name = f"{prefix}{word}"
        named |= commands(command, f"{name} ") if hasattr(command, "commands") else {name: command}
    return named


def test_all_commands_are_there_and_say_what_they_do():
    assert set(commands()) == COMMANDS
    for name, command in commands().items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"
    assert regiontok("diagnose", "--help").exit_code == 0


def test_a_shared_flag_has_one_help_text_in_all_commands():
    texts = defaultdict(set)
    for name, command in commands().items():
        for parameter in command.params:
            for flag in parameter.opts:
                if flag != "--device" or name not in TRAINERS:
                    texts[flag].add(parameter.help)
    assert {flag: len(texts[flag]) for flag in SHARED_FLAGS} == dict.fromkeys(SHARED_FLAGS, 1)


# Words that a command cannot do without, for those that have --device.
NEEDED = {
    "demo": (),
    "tokenize": ("photo.jpg",),
    "view": ("photo.jpg",),
    "frontier": ("photo.jpg",),
    "diagnose measure": ("lite", "--images", "photos"),
    "diagnose figure": ("photo.jpg",),
    "train": ("train/colour",),
    "pretrain": ("rice/pretrain_b16",),
    "chat": ("model",),
    "answer": ("model", "pope", "--data", "pope"),
    "compare": ("model", "--images", "photo.jpg", "--ask", "What?"),
    "focus": ("model", "--data", "miniworld(1)"),
    "export": ("model", "photo.jpg"),
    "check": (),
    "study": (),
    "probe regions": ("filters",),
    "probe detect": ("scenes",),
    "probe track": ("lite", "--test", "got10k:val"),
    "probe refer": ("lite",),
    "probe pictures pca": ("frames", "--out", "pca.png"),
    "probe pictures sphere": ("filters", "--out", "sphere.html"),
    "probe pictures distances": ("filters",),
}


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("banana", "regiontok: unknown device 'banana'; known: auto, cpu, cuda, mps, xpu"),
        ("cuda", "regiontok: device 'cuda': torch finds no GPU here; choose 'cpu' or 'auto'"),
    ],
)
def test_a_device_that_is_not_there_is_one_line_of_every_command(monkeypatch, device, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    having = {
        name
        for name, command in commands().items()
        if any("--device" in parameter.opts for parameter in command.params)
    }
    assert having == set(NEEDED)
    for name in having:
        result = regiontok(*name.split(), *NEEDED[name], "--device", device)
        assert (result.exit_code, result.stdout) == (2, ""), name
        assert result.stderr.startswith(message), name
        assert result.stderr.count("\n") == 1, name


def test_version_is_that_of_the_package():
    result = regiontok("--version")
    assert (result.exit_code, result.stdout) == (0, f"regiontok {version('regiontok')}\n")


def test_the_package_is_the_command_line():
    run = subprocess.run(
        [sys.executable, "-m", "regiontok", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"regiontok {version('regiontok')}\n"

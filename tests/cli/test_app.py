"""The app: its commands, its version, and that a flag means one thing wherever it stands."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version

import typer

from regiontok.cli.app import app
from samples.command_line import regiontok

COMMANDS = {
    "demo",
    "tokenize",
    "frontier",
    "diagnose measure",
    "diagnose figure",
    "train",
    "chat",
    "compare",
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
    "migrate og_llava",
}
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
                # training finds a GPU by itself, where the other commands want it named
                if flag != "--device" or name not in ("train", "pretrain"):
                    texts[flag].add(parameter.help)
    assert {flag: len(texts[flag]) for flag in SHARED_FLAGS} == dict.fromkeys(SHARED_FLAGS, 1)


def test_version_is_that_of_the_package():
    result = regiontok("--version")
    assert (result.exit_code, result.stdout) == (0, f"regiontok {version('regiontok')}\n")


def test_the_package_is_the_command_line():
    run = subprocess.run(
        [sys.executable, "-m", "regiontok", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"regiontok {version('regiontok')}\n"

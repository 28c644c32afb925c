"""The reference page of the command line, written from the Typer app itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

INTRO = """# Command line

This page is written from the program itself when the site is built, so it says what
`regiontok COMMAND --help` says. A command that measures ends with one line of JSON on standard
output. A mistake of the user is one clear message on standard error and exit status 2; a run in
which some images had to be set aside ends with exit status 1; Ctrl-C ends a run with 130, and
SIGTERM with 143 (`train` and `pretrain` with 130).

Every command is a function that can be called from Python as well, in
[`regiontok.jobs`](api/jobs.md).
"""


def page() -> str:
    """The whole page in Markdown."""
    import typer

    from regiontok.cli.app import app

    commands = list(_commands(typer.main.get_command(app), "regiontok"))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_first(command)} |" for name, command in commands]
    table = "\n".join(["| command | what it does |", "| --- | --- |", *rows])
    sections = (_section(name, command) for name, command in commands)
    return "\n".join([INTRO, table, "", *sections])


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, with their whole names, in alphabetical order."""
    for word, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        whole_name = f"{name} {word}"
        if hasattr(command, "commands"):
            yield from _commands(command, whole_name)
        else:
            yield whole_name, command


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _first(command: Any) -> str:
    """The first sentence of a command's help."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return _escaped(re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0])


def _section(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"## {name} {{#{_anchor(name)}}}", f"```text\n{usage}\n```", _help(command)]
    parameters = [each for each in command.params if not each.hidden]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option"]
    if arguments:
        parts.append(_table("argument", arguments, context))
    if options:
        parts.append(_table("option", options, context))
    return "\n\n".join(parts) + "\n"


def _help(command: Any) -> str:
    """The help text; the examples behind "Example:" become one block of commands."""
    text, _, examples = re.sub(r"\n(Examples?:)", r"\0", command.help or "").partition("\0")
    spans = re.findall(r"`([^`]+)`", examples)
    if not spans:
        return command.help or ""
    lines = [" ".join(span.split()) for span in spans]
    return f"{text.strip()}\n\n```bash\n" + "\n".join(lines) + "\n```"


def _table(kind: str, parameters: list[Any], context: Any) -> str:
    rows = [f"| {kind} | what it is | default |", "| --- | --- | --- |"]
    rows += [
        f"| {_written(each, context)} | {_escaped(each.help or '')} | {_default(each)} |"
        for each in parameters
    ]
    return "\n".join(rows)


def _written(parameter: Any, context: Any) -> str:
    """How a parameter is written on the command line."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}{'...' if parameter.nargs != 1 else ''}`"
    flags = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else f" {_value(parameter, context)}"
    return "<br>".join(f"`{flag}{value}`".replace("|", "\\|") for flag in flags)


def _value(parameter: Any, context: Any) -> str:
    """The word that stands for an option's value; Typer's versions call its method differently."""
    known_as = "display_type_rich" if hasattr(parameter, "display_type_rich") else "make_metavar"
    word = str(getattr(parameter, known_as)(context)).upper().strip("<>").removesuffix(" RANGE")
    return re.sub(r"^LIST\[(.*)\]$", r"\1", word)


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False):
        value = parameter.opts[0] if value else ""
        return f"`{value}`" if value else ""
    if value is None or value == "" or callable(value):
        return f"`${parameter.envvar}`" if isinstance(parameter.envvar, str) else ""
    value = value.value if isinstance(value, Enum) else value
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _escaped(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")

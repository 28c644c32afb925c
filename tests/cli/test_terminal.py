"""What is piped is data: nothing is wrapped or styled, and JSON stands alone on request."""

from __future__ import annotations

import io
import json
import sys
import warnings

import pytest
import typer
from rich.table import Table

from regiontok.cli import terminal
from regiontok.cli.app import app, main
from regiontok.system.errors import RegiontokWarning
from regiontok.system.logs import module_logger
from samples.command_line import regiontok

LONG = "/".join(["folder"] * 60)  # longer than any terminal is wide


@pytest.fixture(autouse=True)
def _coloured(monkeypatch):
    """The environment of a job that asks for colours: a pipe has none all the same."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")


def test_lines_and_errors_in_a_pipe_are_as_they_are(capsys):
    terminal.say(f"{LONG} [bold]:cat: \t.", style="bold")
    terminal.warn(LONG)
    terminal.look_at(LONG)
    out, err = capsys.readouterr()
    assert out == f"{LONG} [bold]:cat: \t.\nlook at {LONG}\n"
    assert err == f"{LONG}\n"


def test_a_row_of_a_table_is_a_line_in_a_pipe(capsys):
    table = Table(title="title", box=None)
    table.add_column("name", max_width=10, style="red")
    table.add_column("text")
    table.add_row(LONG, "words " * 100)
    terminal.print_tables([table])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # title, heads, the row, a blank line
    assert lines[2].split()[0] == LONG
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tokenize", LONG], f"{LONG}: no such file or folder"),
        (["tokenize", "x", "--batch", "many"], "Invalid value for '--batch': "),
        (["tokenise"], "No such command 'tokenise'"),
    ],
)
def test_errors_in_a_pipe_are_not_wrapped(words, message):
    result = regiontok(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "\x1b" not in result.stderr
    assert "│" not in result.stderr


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_in_a_name_moves_the_cursor(stream, monkeypatch):
    """Escapes of colour aside, which the console itself writes."""
    monkeypatch.setenv("TERM", "dumb")  # no colours
    monkeypatch.setenv("COLUMNS", "120")  # room for a cell
    name = "a\x1b]0;x\x07\x9b2J\n\r\u202e\udce9\ud83d[/z].png"
    shown = r"a\x1b]0;x\x07\x9b2J\n\r\u202e\xe9\ud83d[/z].png"
    out, err = stream(), stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    terminal.say(name, style="bold")
    terminal.say_names([name])
    terminal.look_at(name)
    terminal.print_tables([Table(name, title=name)])
    assert out.getvalue().count(shown) == 5
    terminal.note(name)
    terminal.warn(name)
    assert err.getvalue().count(shown) == 2
    terminal.closing_json({"name": name})
    assert json.loads(out.getvalue().splitlines()[-1]) == {"name": name}
    for text in (out.getvalue(), err.getvalue()):
        assert text.replace("\n", "").isprintable()


def test_a_character_that_the_terminal_lacks_and_a_warning_of_the_library(monkeypatch, capsys):
    def command():
        for _ in range(2):
            module_logger("regiontok.somewhere").warning("half a\nwarning: %d", 7)
            warnings.warn("no locks here", RegiontokWarning, stacklevel=1)
        print("×")

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("regiontok.cli.app.app", command)
    monkeypatch.setattr(sys, "stdout", out)
    main()
    out.flush()
    assert out.buffer.getvalue() == rb"\xd7" + b"\n"
    assert capsys.readouterr().err == "warning: half a warning: 7\nwarning: no locks here\n"


def test_help_in_a_pipe_is_plain():
    for words in ([], ["tokenize"], ["masks", "build"]):
        text = regiontok(*words, "--help").stdout
        assert text.startswith("Usage: ")
        assert "\x1b" not in text
        assert "│" not in text


def commands(group=None, prefix=()):
    for word, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, word))
        else:
            yield (*prefix, word), command


def test_every_command_has_the_flag():
    for words, command in commands():
        assert any("--json" in parameter.opts for parameter in command.params), words


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ls", "recipes", "quick"],
        ["show", "merge"],
        ["tokenize", "PHOTOS", "--encoder", "filters", "--regions", "windows(4)", "--out", "OUT"],
        ["masks", "PHOTOS", "--segmenter", "slic(4)", "--out", "OUT", "--dry-run"],
        ["train", "train/colour", "--dry-run"],
    ],
    ids=" ".join,
)
def test_json_stands_alone_on_stdout(words, photos, tmp_path):
    places = {"PHOTOS": photos, "OUT": tmp_path / "out"}
    words = [places.get(word, word) for word in words]
    result = regiontok(*words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["command"] == words[0]
    assert result.stderr  # where the tables are
    assert len(regiontok(*words).stdout.splitlines()) > 1


def test_errors_leave_stdout_empty():
    result = regiontok("show", "mrege", "--json")
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("regiontok sho", ["show"]),
        ("regiontok ls enc", ["encoders"]),
        ("regiontok show quick/cl", ["quick/cluster"]),
        ("regiontok train train/", ["train/colour"]),
        ("regiontok tokenize a --encoder dinov2-l", ["dinov2-l", "dinov2-l-reg"]),
    ],
)
def test_a_shell_completes_commands_and_names(line, words, monkeypatch, capsys):
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    monkeypatch.setenv("_REGIONTOK_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit):
        app(prog_name="regiontok", complete_var="_REGIONTOK_COMPLETE")
    completed = capsys.readouterr().out.split()
    assert [word for word in words if word in completed] == words

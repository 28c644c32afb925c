"""The terminal: two consoles, tables, one JSON line at the end, and errors without a traceback.

Nothing that is printed is read as markup, and no name or other text reaches the terminal with
control characters in it. Where nobody looks at a terminal, in a pipe or a file, lines are neither
wrapped nor styled, whatever the environment says of colours: what is piped is data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import typer

from regiontok.system.errors import RegiontokError
from regiontok.system.interrupt import Terminated, exit_status, stopped_by_sigterm
from regiontok.system.need import named_extra
from regiontok.system.printable import printable, printable_json, printable_lines
from regiontok.system.strict_json import strict_json

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

WIDTH_OF_PIPES = 100_000  # columns: a pipe has no width, and no row of a table may be wrapped
SHOWN_NAMES = 20  # of a long list of names

# Where the JSON goes that stands alone on stdout; None where tables stand there, too.
_JSON_STREAM: ContextVar[TextIO | None] = ContextVar("_JSON_STREAM", default=None)


@contextmanager
def clear_errors(go_on: str = "") -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and exit status 2, without a traceback.

    Ctrl-C ends with status 130, SIGTERM with 143, and a line that says so.

    Args:
        go_on: what is kept then, and how to go on, in words.
    """
    try:
        with stopped_by_sigterm():
            yield
    except (RegiontokError, ValueError, ImportError, OSError) as error:
        if isinstance(error, ImportError):
            error = named_extra(error)
        warn(f"regiontok: {' '.join(str(error).split())}")
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, Terminated) as stop:
        note(f"stopped: {go_on}" if go_on else "stopped")
        raise typer.Exit(exit_status(stop)) from None


@contextmanager
def json_alone() -> Iterator[None]:
    """Leave standard output to `closing_json`; whatever else is printed there goes to stderr."""
    token = _JSON_STREAM.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _JSON_STREAM.reset(token)


def json_is_wanted() -> bool:
    """True if the command was called with --json."""
    return _JSON_STREAM.get() is not None


def stdout() -> Console:
    """The console for results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console for progress and complaints."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console
    from rich.text import Text

    class PrintableConsole(Console):
        """A console whose texts, also the cells and titles of tables, are `printable`."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    settings: dict[str, Any] = {"file": stream, "emoji": False, "markup": False}
    if not stream.isatty():
        settings |= {"force_terminal": False, "color_system": None, "width": WIDTH_OF_PIPES}
    return PrintableConsole(**settings)


def say(text: str, *, style: str = "") -> None:
    """Print a line on stdout, see `printable`."""
    _print(stdout(), printable(text), style)


def say_lines(text: str) -> None:
    """Print a text of several lines on stdout."""
    _print(stdout(), printable_lines(text), "")


def note(text: str) -> None:
    """Print a line on stderr."""
    _print(stderr(), printable(text), "")


def warn(text: str) -> None:
    """Print a line on stderr in red."""
    _print(stderr(), printable(text), "red")


def _print(console: Console, text: str, style: str) -> None:
    if console.is_terminal:
        console.print(text, style=style, highlight=False, soft_wrap=True)
    else:
        print(text, file=console.file)


def look_at(path: Path) -> None:
    """Print where a picture or a page lies."""
    from rich.text import Text

    stdout().print("look at", Text(printable(str(path)), style="bold"), soft_wrap=True)


def say_names(names: Iterable[str]) -> None:
    """Print the first of many names, and how many more there are."""
    names = list(names)
    for name in names[:SHOWN_NAMES]:
        say(name)
    if len(names) > SHOWN_NAMES:
        say(f"... and {len(names) - SHOWN_NAMES} more")


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on stdout, a blank line after each; in a pipe a row is one line."""
    for table in tables:
        console = stdout()
        if console.is_terminal:
            console.print(table, "")
            continue
        for column in table.columns:
            column.max_width, column.no_wrap = None, True
        with console.capture() as capture:
            console.print(table)
        print(*(line.rstrip() for line in capture.get().splitlines()), "", sep="\n")


def closing_json(report: dict[str, Any]) -> None:
    """Print the last line of a command that measures: one JSON object."""
    line = printable_json(strict_json(report, ensure_ascii=False))
    print(line, file=_JSON_STREAM.get() or sys.stdout)

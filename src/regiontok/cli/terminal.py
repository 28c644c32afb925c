"""The terminal: two consoles, tables, one JSON line at the end, and errors without a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

WIDTH_OF_PIPES = 140  # a pipe has no width: tables stay whole
SHOWN_NAMES = 20  # of a long list of names


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and exit status 2, without a traceback.

    Ctrl-C ends with status 130.
    """
    try:
        yield
    except (RegiontokError, ValueError, ImportError, OSError) as error:
        warn(f"regiontok: {' '.join(str(error).split())}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        stderr().print("stopped")
        raise typer.Exit(130) from None


def stdout() -> Console:
    """The console for results."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for progress and complaints."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH_OF_PIPES)


def say(text: str, *, style: str = "") -> None:
    """Print a line on stdout as it is."""
    stdout().print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line on stderr in red, as it is."""
    stderr().print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def look_at(path: Path) -> None:
    """Print where a picture or a page lies."""
    from rich.text import Text

    stdout().print("look at", Text(str(path), style="bold"), soft_wrap=True)


def say_names(names: Iterable[str]) -> None:
    """Print the first of many names, and how many more there are."""
    names = list(names)
    for name in names[:SHOWN_NAMES]:
        say(name)
    if len(names) > SHOWN_NAMES:
        say(f"... and {len(names) - SHOWN_NAMES} more")


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on stdout, a blank line after each."""
    for table in tables:
        stdout().print(table, "")


def closing_json(report: dict[str, Any]) -> None:
    """Print the last line of a command that measures: one JSON object."""
    print(json.dumps(report, ensure_ascii=False))

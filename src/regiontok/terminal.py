"""What commands share on a terminal: two consoles, tables, one JSON line at the end, and errors without a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer


@contextmanager
def clear_errors() -> Iterator[None]:
    """A user's mistake is one line on stderr and exit status 2, never a traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        stderr().print(f"regiontok: {' '.join(str(error).split())}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        stderr().print("stopped")
        raise typer.Exit(130) from None


def tables(found: Iterable[Any]) -> None:
    """Print tables, a blank line after each."""
    for table in found:
        stdout().print(table, "")


def _console(stderr: bool) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)  # a pipe has no width: keep tables whole


def stdout() -> Any:
    """The console for results."""
    return _console(stderr=False)


def stderr() -> Any:
    """The console for progress and complaints."""
    return _console(stderr=True)


def closing_json(value: dict[str, Any]) -> None:
    """The last line of a command that measures: one JSON object."""
    print(json.dumps(value, ensure_ascii=False))

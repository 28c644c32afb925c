"""What commands share on a terminal: two consoles, tables, one JSON line at the end, and errors
without a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer


@contextmanager
def clear_errors() -> Iterator[None]:
    """A user's mistake is one line on stderr and exit status 2, never a traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        stderr().print(
            f"regiontok: {' '.join(str(error).split())}",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        stderr().print("stopped")
        raise typer.Exit(130) from None


def tables(found: Iterable[Any]) -> None:
    """Print tables, a blank line after each."""
    for table in found:
        stdout().print(table, "")


@dataclass
class Settled:
    """Images of a long job so far: done (resumed ones among them), their bytes before, and those
    that were set aside."""

    done: int = 0
    resumed: int = 0
    size: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


def settle(settled: Iterable[Any], total: int, name: Callable[[Any], str]) -> Settled:
    """Follow a job that goes on when it is started again, image by image, on a bar; say what was
    set aside. Ctrl-C ends with status 130.

    Args:
        settled: images as they are done: `error`, "" or None if there is none; `resumed`; and
            `size` where it is counted.
        total: how many there will be.
        name: of one, where it is set aside.
    """
    from regiontok.jobs.tables import progress, set_aside

    so_far = Settled()
    try:
        with progress(stderr()) as bar:
            task = bar.add_task("images", total=total)
            for one in settled:
                so_far.done += one.error is None
                so_far.resumed += one.resumed
                so_far.size += getattr(one, "size", 0)
                if one.error:
                    so_far.failed.append({"image": name(one), "error": one.error})
                aside = len(so_far.failed)
                bar.update(
                    task,
                    advance=1,
                    description=f"images ({aside} set aside)" if aside else "images",
                )
    except KeyboardInterrupt:
        stderr().print(
            f"stopped: {so_far.done} of {total} images are done; the same command goes on",
            highlight=False,
        )
        raise typer.Exit(130) from None
    tables(set_aside(so_far.failed))
    return so_far


def _console(stderr: bool) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr)
    return (
        console if console.is_terminal else Console(stderr=stderr, width=140)
    )  # a pipe has no width: keep tables whole


def stdout() -> Any:
    """The console for results."""
    return _console(stderr=False)


def stderr() -> Any:
    """The console for progress and complaints."""
    return _console(stderr=True)


def closing_json(value: dict[str, Any]) -> None:
    """The last line of a command that measures: one JSON object."""
    print(json.dumps(value, ensure_ascii=False))

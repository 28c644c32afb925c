"""Progress of long commands: bars with an estimate, and the count of images that are done.

Where nobody watches a bar, as in a job's log, lines say the same from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from regiontok.cli.terminal import note, stderr
from regiontok.system.interrupt import Terminated, exit_status
from regiontok.system.printable import printable

SILENT = 30.0  # seconds that a log is silent at most in the first ten minutes; later a twentieth


def progress(console: Console) -> Progress:
    """A bar with count and estimate; it is silent where `console` is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@dataclass
class LogLines:
    """Lines in a job's log that say how far it has come: every half a minute, later less often.

    Attributes:
        console: where the lines go; on a terminal, which has a bar, none is printed.
        total: how many there will be; None if that is not known.
        clock: gives seconds.
    """

    console: Console
    total: int | None
    clock: Callable[[], float] = monotonic

    def __post_init__(self) -> None:
        self._start = self._last = self.clock()

    def tell(self, label: str, done: int) -> None:
        """Print a line if the last one is long ago.

        Args:
            label: what is counted.
            done: how many are done.
        """
        now = self.clock()
        seconds = now - self._start
        if self.console.is_terminal or now - self._last < max(SILENT, seconds / 20):
            return
        self._last = now
        text = f"{label}: {done:,} done after {_duration(seconds)}"
        if self.total:
            left = seconds / done * (self.total - done) if done else None
            estimate = "" if left is None else f", about {_duration(left)} left"
            share = done / self.total
            text = (
                f"{label}: {done:,} of {self.total:,} ({share:.0%}) after "
                f"{_duration(seconds)}{estimate}"
            )
        print(text, file=self.console.file, flush=True)


def _duration(seconds: float) -> str:
    """Seconds in the two largest units.

    >>> _duration(42.3), _duration(190), _duration(7300)
    ('42 s', '3 min 10 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def counting(label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on stderr for the time of a `with` block; gives the function that advances it by one.

    Args:
        label: what is counted.
        total: how many there will be; None if that is not known.
    """
    with progress(stderr()) as bar:
        task, log_lines = bar.add_task(label, total=total), LogLines(bar.console, total)

        def tick() -> None:
            bar.advance(task)
            log_lines.tell(label, int(bar.tasks[task].completed))

        yield tick


class Outcome(Protocol):
    """What became of one image of a long job."""

    @property
    def error(self) -> str | None:
        """Why the image was set aside; None if it was done."""

    @property
    def resumed(self) -> bool:
        """True if an earlier run had done the image."""


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclass
class Tally:
    """How far a job over many images has come.

    Attributes:
        done: images that are done, those of earlier runs among them.
        resumed: images that earlier runs had done.
        failed: images that were set aside: `image` and `error` of each.
    """

    done: int = 0
    resumed: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """The line's beginning that says so at the end.

        >>> Tally(1, 0, []).summary()
        '1 image done (0 of them before), 0 set aside'
        """
        images = "image" if self.done == 1 else "images"
        return (
            f"{self.done} {images} done ({self.resumed} of them before), {len(self.failed)} set "
            "aside"
        )


def tally(
    outcomes: Iterable[AnyOutcome],
    *,
    total: int,
    name: Callable[[AnyOutcome], str],
    go_on: str,
    on_done: Callable[[AnyOutcome], None] = lambda outcome: None,
    unit: str = "images",
) -> Tally:
    """Follow a job image by image on a bar, and count what becomes of the images.

    Args:
        outcomes: the job, which yields an image as soon as it is done or set aside.
        total: how many images there will be.
        name: what to call an image that was set aside.
        go_on: how to go on after Ctrl-C or SIGTERM, in words.
        on_done: called with each image that is done.
        unit: what is counted, where it is not images.

    Raises:
        typer.Exit: With status 130 after Ctrl-C, 143 after SIGTERM.
    """
    count = Tally()
    try:
        with progress(stderr()) as bar:
            task, log_lines = bar.add_task(unit, total=total), LogLines(bar.console, total)
            for outcome in outcomes:
                count.resumed += outcome.resumed
                if outcome.error is None:
                    count.done += 1
                    on_done(outcome)
                else:
                    count.failed.append({"image": name(outcome), "error": outcome.error})
                set_aside = f" ({len(count.failed)} set aside)" if count.failed else ""
                bar.update(task, advance=1, description=f"{unit}{set_aside}")
                log_lines.tell(f"{unit}{set_aside}", count.done + len(count.failed))
    except (KeyboardInterrupt, Terminated) as stop:
        note(f"stopped: {count.done} of {total} {unit} are done; {go_on}")
        raise typer.Exit(exit_status(stop)) from None
    return count


def follow(
    bar: Progress, show: Callable[[dict[str, Any]], str]
) -> Callable[[dict[str, Any]], None]:
    """The function that training calls with each entry of its log: one bar for each stage.

    Where nobody watches a bar, a line is printed for each twentieth of a stage. A stage's entry has
    its `name`, its `steps`, the `step` it goes on from, and, where steps are counted over all
    stages, its own first step as `first`.

    Args:
        bar: what the stages are shown on.
        show: an entry as one line of text.
    """
    stage: dict[str, Any] = {}

    def tell(entry: dict[str, Any]) -> None:
        completed = entry["step"] - entry.get("first", stage.get("first", 0))
        if entry["kind"] == "stage":
            task = bar.add_task(printable(entry["name"]), total=entry["steps"], completed=completed)
            stage.clear()
            stage.update(entry, task=task)
        if entry["kind"] == "step":
            description = f"{printable(stage['name'])} loss {entry['loss']:.4f}"
            bar.update(stage["task"], completed=completed, description=description)
            if bar.console.is_terminal or completed % -(-stage["steps"] // 20):
                return
        bar.console.print(show(entry), highlight=False)

    return tell

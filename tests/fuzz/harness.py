"""Give a reader changed files, and note what is neither an answer nor a clear error."""

from __future__ import annotations

import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz.mutations import mutated
from fuzz.readers import READERS, Reader
from regiontok.system.errors import RegiontokError

SECONDS = 20  # after which a reader hangs
MOST_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Failure:
    """An input that a reader does not take as it should.

    Attributes:
        reader: the reader.
        number: the number from which the input is drawn again.
        what: the end of the traceback, or "hangs".
    """

    reader: str
    number: int
    what: str


class Hangs(BaseException):
    """A reader took too long; no reader catches it."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def is_clear(error: BaseException) -> bool:
    """True for an error of this package, and for a plain ValueError or TypeError of its own."""
    return isinstance(error, RegiontokError) or type(error) is ValueError


def fuzz(
    folder: Path, numbers: Sequence[int], readers: Sequence[Reader] = READERS
) -> tuple[Counter[str], list[Failure]]:
    """Try a changed input for each number; the readers take turns.

    Returns:
        How many inputs were taken and how many refused, and the failures.
    """
    counts: Counter[str] = Counter()
    failures = []
    whole: dict[str, bytes] = {}
    for number in numbers:
        index = number % len(readers)
        reader = readers[index]
        home = folder / str(index)
        if reader.name not in whole:
            home.mkdir(parents=True)
            reader.make(home)
            whole[reader.name] = (home / reader.file).read_bytes()
            reader.read(home)  # a whole file is taken
        (home / reader.file).write_bytes(mutated(whole[reader.name], np.random.default_rng(number)))
        try:
            with _limited():
                reader.read(home)
            counts["taken"] += 1
        except Hangs:
            failures.append(Failure(reader.name, number, "hangs"))
        except Exception as error:
            if is_clear(error):
                counts["refused"] += 1
            else:
                failures.append(Failure(reader.name, number, traceback.format_exc(limit=-3)))
    return counts, failures


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

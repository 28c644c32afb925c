"""Which images a command was given: files, folders, globs, or a list on standard input."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from regiontok.core.picture import SUFFIXES
from regiontok.system.errors import RegiontokError


class NoImages(RegiontokError, ValueError):
    """Paths that lead to no image; the message says which and why."""


@dataclass(frozen=True)
class Item:
    """One image to do: where it lies, and the relative name of its output folder."""

    path: Path
    name: str


def collect(paths: Sequence[str], stdin: TextIO | None = None) -> list[Item]:
    """The images behind the words of a command line, sorted within each folder or glob, each path
    once.

    A folder is walked to the bottom and gives its files with an image's suffix; a file named by
    itself is taken whatever its suffix; "-" reads one path a line from `stdin`. An output folder
    keeps the structure below the folder that was named.

    Raises:
        NoImages: nothing there, a folder without images, a folder that cannot be read.
    """
    found: dict[Path, Item] = {}
    for word in listed(paths, stdin):
        for item in _items(word):
            found.setdefault(item.path, item)
    if not found:
        raise NoImages(
            "no image given: name files, folders, globs, or - for a list on standard input"
        )
    return distinct(found.values())


def listed(paths: Sequence[str], stdin: TextIO | None) -> Iterator[str]:
    """The words, with the lines of `stdin` in the place of "-"."""
    for word in paths:
        if word == "-":
            yield from (line.strip() for line in stdin or () if line.strip())
        else:
            yield word


def _items(word: str) -> list[Item]:
    path = Path(word)
    if path.is_dir():
        return _walk(path)
    if path.exists() or path.is_symlink():
        return [Item(path, path.name)]
    if glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))
        if not matches:
            raise NoImages(f"{word}: no file matches")
        return [item for match in matches for item in _items(match)]
    raise NoImages(f"{word}: no such file or folder")


def _walk(folder: Path) -> list[Item]:
    def refuse(error: OSError) -> None:
        raise NoImages(f"{error.filename}: cannot be read ({error.strerror})")

    found = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(
            name
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )
        found += [Path(here) / name for name in images]
    if not found:
        raise NoImages(
            f"{folder}: no images in this folder (looked for {' '.join(sorted(SUFFIXES))})"
        )
    return [Item(path, path.relative_to(folder).as_posix()) for path in found]


def distinct(items: Iterable[Item]) -> list[Item]:
    """Names that two images share get a piece of their path's hash, so that no output overwrites
    another."""
    items = list(items)
    counts = Counter(item.name for item in items)

    def own(item: Item) -> str:
        if counts[item.name] == 1:
            return item.name
        return f"{item.name}~{hashlib.sha256(str(item.path.resolve()).encode()).hexdigest()[:8]}"

    return [replace(item, name=own(item)) for item in items]

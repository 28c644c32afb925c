"""The images a command works on: from files, folders, globs, or a list on standard input."""

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
    """Paths lead to no image; the message says which, and why."""


@dataclass(frozen=True)
class NamedPath:
    """An image or clip on disk, with the relative name of the folder that its results go to.

    Attributes:
        path: where the image or clip lies.
        name: relative path of its results below an output folder.
    """

    path: Path
    name: str


def collect(words: Sequence[str], stdin: TextIO | None = None) -> list[NamedPath]:
    """The images behind the words of a command line, each path once.

    A folder is walked to the bottom and gives its files with an image's suffix, sorted; so does a
    glob. A file that is named by itself is taken whatever its suffix. "-" reads one path a line
    from `stdin`. The names keep the structure below the folder that was given.

    Raises:
        NoImages: If a word leads to nothing, a folder has no images, or it cannot be read.
    """
    by_path: dict[Path, NamedPath] = {}
    for word in expand_stdin(words, stdin):
        for image in _images_of(word):
            by_path.setdefault(image.path, image)
    if not by_path:
        raise NoImages(
            "no image given: name files, folders, globs, or - for a list on standard input"
        )
    return with_distinct_names(by_path.values())


def expand_stdin(words: Sequence[str], stdin: TextIO | None) -> Iterator[str]:
    """The words, with the lines of `stdin` in the place of "-"."""
    for word in words:
        if word == "-":
            yield from (line.strip() for line in stdin or () if line.strip())
        else:
            yield word


def with_distinct_names(paths: Iterable[NamedPath]) -> list[NamedPath]:
    """The same paths, none with the name of another, so that no result overwrites another.

    A name that two paths share gets a piece of the path's hash behind it.
    """
    paths = list(paths)
    counts = Counter(path.name for path in paths)
    return [path if counts[path.name] == 1 else _with_hash(path) for path in paths]


def _with_hash(named: NamedPath) -> NamedPath:
    digest = hashlib.sha256(str(named.path.resolve()).encode()).hexdigest()
    return replace(named, name=f"{named.name}~{digest[:8]}")


def _images_of(word: str) -> list[NamedPath]:
    path = Path(word)
    if path.is_dir():
        return _images_below(path)
    if path.exists() or path.is_symlink():
        return [NamedPath(path, path.name)]
    if glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))
        if not matches:
            raise NoImages(f"{word}: no file matches")
        return [image for match in matches for image in _images_of(match)]
    raise NoImages(f"{word}: no such file or folder")


def _images_below(root: Path) -> list[NamedPath]:
    def refuse(error: OSError) -> None:
        raise NoImages(f"{error.filename}: cannot be read ({error.strerror})")

    paths: list[Path] = []
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths += [Path(folder) / name for name in sorted(files) if _is_image(name)]
    if not paths:
        raise NoImages(
            f"{root}: no images in this folder (looked for {' '.join(sorted(SUFFIXES))})"
        )
    return [NamedPath(path, path.relative_to(root).as_posix()) for path in paths]


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")

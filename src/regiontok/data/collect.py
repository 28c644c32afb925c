"""The images a command works on: from files, folders, globs, or a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeAlias

from regiontok.core.picture import SUFFIXES
from regiontok.data.walk import LeftOut, is_output_folder, pictures_below
from regiontok.system.drawn import is_drawn
from regiontok.system.errors import RegiontokError
from regiontok.system.logs import module_logger

Note: TypeAlias = Callable[[str], None]  # is told what is not read, a line each
_LOG = module_logger(__name__)


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


def collect(
    words: Sequence[str], stdin: TextIO | None = None, *, note: Note = _LOG.warning
) -> list[NamedPath]:
    """The images behind the words of a command line, each path once.

    A folder is walked to the bottom and gives its files with an image's suffix, sorted; so does a
    glob. Both leave out what this project wrote: pictures that it drew, and the folders of its
    outputs. Linked folders are read once. Pictures of kinds that are not read, videos, and what a
    Mac leaves beside pictures are counted, and `note` is told. A file that is named by itself is
    taken whatever its suffix and whoever wrote it. "-" reads one path a line from `stdin`.

    The name of an image is its path below the folder that was given, or below the part of a glob
    without wildcards; of a file that is named by itself, the last part of its path. So it never
    depends on what else is given, and two images may have one name.

    Args:
        words: files, folders, globs, or "-".
        stdin: what "-" reads.
        note: is told what lies in a folder and is not read, a line each; by default the log is.

    Raises:
        NoImages: If a word leads to nothing, a folder has no images, or it cannot be read.
    """
    by_path: dict[Path, NamedPath] = {}
    for word in expand_stdin(words, stdin):
        for image in _images_of(word, note):
            by_path.setdefault(image.path, image)
    if not by_path:
        raise NoImages(
            "no image given: name files, folders, globs, or - for a list on standard input"
        )
    return list(by_path.values())


def separate_names(
    sources: Sequence[NamedPath], *earlier: NamedPath
) -> tuple[list[NamedPath], list[tuple[NamedPath, str]]]:
    """The sources whose name no one before them has, and the others with the reason.

    Args:
        sources: images or clips.
        earlier: others that go to the same output folder.
    """
    taken = {source.name: source.path for source in earlier}
    separate, others = [], []
    for source in sources:
        first = taken.setdefault(source.name, source.path)
        if first == source.path:
            separate.append(source)
        else:
            reason = (
                f"{source.path}: its output has the same name, {source.name}, as that of {first}; "
                "name the folder above both, whose structure is kept, or choose another --out for "
                "one of them"
            )
            others.append((source, reason))
    return separate, others


def expand_stdin(words: Sequence[str], stdin: TextIO | None) -> Iterator[str]:
    """The words, with the lines of `stdin` in the place of "-"."""
    for word in words:
        if word == "-":
            yield from (line.strip() for line in stdin or () if line.strip())
        else:
            yield word


def _images_of(word: str, note: Note) -> list[NamedPath]:
    path = Path(word)
    if path.is_dir():
        return _images_below(path, note)
    if path.exists() or path.is_symlink():
        return [NamedPath(path, path.name)]
    if glob.has_magic(word):
        return _images_matching(word, note)
    raise NoImages(f"{word}: no such file or folder")


def _images_matching(pattern: str, note: Note) -> list[NamedPath]:
    """The images that a glob matches, and those below the folders that it matches."""
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    if not matches:
        raise NoImages(f"{pattern}: no file matches")
    paths: list[Path] = []
    for path in matches:
        if path.is_dir():
            paths += _input_paths(path, note, must_have_some=False)
        elif not _is_output(path):
            paths.append(path)
    if not paths:
        raise NoImages(f"{pattern}: matches only what regiontok wrote, which is left out")
    root = _fixed_folder(pattern)
    return [NamedPath(path, path.relative_to(root).as_posix()) for path in paths]


def _fixed_folder(pattern: str) -> Path:
    """The folder in front of the first wildcard of a glob.

    >>> _fixed_folder("photos/*/left.jpg").as_posix()
    'photos'
    """
    folder = Path()
    for folder_name in Path(pattern).parts[:-1]:
        if glob.has_magic(folder_name):
            break
        folder /= folder_name
    return folder


def _images_below(root: Path, note: Note) -> list[NamedPath]:
    paths = _input_paths(root, note)
    return [NamedPath(path, path.relative_to(root).as_posix()) for path in paths]


def _input_paths(root: Path, note: Note, *, must_have_some: bool = True) -> list[Path]:
    """The images below a folder, without those that this project wrote.

    Args:
        root: the folder.
        note: is told what lies there and is not read.
        must_have_some: False also takes a folder where nothing is left to be read.

    Raises:
        NoImages: If there are none, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise NoImages(f"{error.filename}: cannot be read ({error.strerror})")

    left_out = LeftOut()
    inputs = list(pictures_below(root, left_out, refuse))
    notes = list(left_out.notes(root))
    if not inputs and (must_have_some or not (left_out.outputs or notes)):
        outputs = f"; {left_out.outputs} that regiontok wrote are left out"
        beside = "".join(f"; {text.removeprefix(f'{root}: ')}" for text in notes)
        suffixes = " ".join(sorted(SUFFIXES))
        raise NoImages(
            f"{root}: no images in this folder (looked for {suffixes})"
            f"{outputs if left_out.outputs else ''}{beside}"
        )
    for text in notes:
        note(text)
    return inputs


def _is_output(path: Path) -> bool:
    """True for a picture that this project drew, and for an image in the folder of an output."""
    return is_drawn(path) or is_output_folder(os.listdir(path.parent))

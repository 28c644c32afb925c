"""The images a command works on: from files, folders, globs, or a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from regiontok.core.picture import SUFFIXES
from regiontok.system.drawn import is_drawn
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
    glob. Both leave out what this project wrote: pictures that it drew, and the folders of its
    outputs. A file that is named by itself is taken whatever its suffix and whoever wrote it. "-"
    reads one path a line from `stdin`.

    The name of an image is its path below the folder that was given, or below the part of a glob
    without wildcards; of a file that is named by itself, the last part of its path. So it never
    depends on what else is given, and two images may have one name.

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


def _images_of(word: str) -> list[NamedPath]:
    path = Path(word)
    if path.is_dir():
        return _images_below(path)
    if path.exists() or path.is_symlink():
        return [NamedPath(path, path.name)]
    if glob.has_magic(word):
        return _images_matching(word)
    raise NoImages(f"{word}: no such file or folder")


def _images_matching(pattern: str) -> list[NamedPath]:
    """The images that a glob matches, and those below the folders that it matches."""
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    if not matches:
        raise NoImages(f"{pattern}: no file matches")
    paths: list[Path] = []
    for path in matches:
        if path.is_dir():
            paths += _input_paths(path, must_have_some=False)
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
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        folder /= part
    return folder


def _images_below(root: Path) -> list[NamedPath]:
    paths = _input_paths(root)
    return [NamedPath(path, path.relative_to(root).as_posix()) for path in paths]


def _input_paths(root: Path, *, must_have_some: bool = True) -> list[Path]:
    """The images below a folder, without those that this project wrote.

    Args:
        root: the folder.
        must_have_some: False also takes a folder where this project wrote all images.

    Raises:
        NoImages: If there are none, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise NoImages(f"{error.filename}: cannot be read ({error.strerror})")

    inputs: list[Path] = []
    outputs = 0
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        images = [Path(folder) / name for name in sorted(files) if _is_image(name)]
        is_output = _is_output_folder(files)
        taken = [path for path in images if not is_output and not is_drawn(path)]
        inputs += taken
        outputs += len(images) - len(taken)
    if not inputs and (must_have_some or not outputs):
        left_out = f"; {outputs} that regiontok wrote are left out" if outputs else ""
        suffixes = " ".join(sorted(SUFFIXES))
        raise NoImages(f"{root}: no images in this folder (looked for {suffixes}){left_out}")
    return inputs


def _is_output_folder(names: Sequence[str]) -> bool:
    """True for the file names of a folder that `tokenize` wrote for an image, also long ago."""
    endings = {".regions.json", ".safetensors"}
    written = {ending for ending in endings for name in names if name.endswith(ending)}
    return "report.json" in names and written == endings


def _is_output(path: Path) -> bool:
    """True for a picture that this project drew, and for an image in the folder of an output."""
    return is_drawn(path) or _is_output_folder(os.listdir(path.parent))


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")

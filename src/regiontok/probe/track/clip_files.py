"""The files of a clip: numbered frames, lines of boxes, labels of 0 and 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.picture import SUFFIXES
from regiontok.probe.track.errors import BadClip

if TYPE_CHECKING:
    from jaxtyping import Float

_SEPARATORS = re.compile(r"[,\s]+")
_SHOWN = 5  # missing frames that a message names


def numbered_frames(folder: Path) -> tuple[Path, ...]:
    """The images of a folder whose names are numbers, in their order.

    Raises:
        BadClip: If there is no folder, no image, an image whose name is no number, or a number
            that is missing or comes twice.
    """
    if not folder.is_dir():
        raise BadClip(f"{folder} is no folder of frames")
    images = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    images = [path for path in images if not path.name.startswith(".")]
    if not images:
        raise BadClip(f"{folder} has no frames")
    if unnumbered := sorted(path.name for path in images if not path.stem.isdecimal()):
        raise BadClip(f"{folder} has a frame that is not named by its number: {unnumbered[0]}")
    images.sort(key=lambda path: (int(path.stem), path.name))
    _check_consecutive(folder, [int(path.stem) for path in images])
    return tuple(images)


def _check_consecutive(folder: Path, numbers: list[int]) -> None:
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise BadClip(f"{folder} has two frames of number {twice}")
    missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    if missing:
        named = ", ".join(map(str, missing[:_SHOWN]))
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise BadClip(f"frames are missing in {folder}: {named}{more}")


def read_boxes(path: Path) -> Float[np.ndarray, "n 4"]:
    """Lines of x, y, width, height; numbers are parted by commas, tabs or blanks, NaN is allowed.

    Raises:
        BadClip: If the file is missing or empty, or a line holds anything else.
    """
    rows = [_numbers(path, number, line) for number, line in enumerate(_lines(path), start=1)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 4:
            raise BadClip(f"{path}, line {number}: expected x, y, width, height, got {row}")
    return np.array(rows, dtype=np.float64)


def read_labels(path: Path) -> Float[np.ndarray, "n"]:
    """The numbers of a file of labels, one a line or all on one line.

    Raises:
        BadClip: If the file is missing or empty, or holds anything else.
    """
    rows = [_numbers(path, number, line) for number, line in enumerate(_lines(path), start=1)]
    return np.array([value for row in rows for value in row], dtype=np.float64)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadClip(f"{path} is missing") from None
    except UnicodeDecodeError:
        raise BadClip(f"{path} is no text") from None
    lines = text.strip().splitlines()
    if not lines:
        raise BadClip(f"{path} is empty")
    return lines


def _numbers(path: Path, number: int, line: str) -> list[float]:
    try:
        return [float(word) for word in _SEPARATORS.split(line.strip()) if word]
    except ValueError:
        raise BadClip(f"{path}, line {number}: expected numbers, got {line[:60]!r}") from None

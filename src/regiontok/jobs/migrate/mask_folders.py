"""The mask folders that OG-LLaVA's released scripts write: one folder an image, in partitions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Order = Literal["number", "name"]
NUMBERED_FILE = re.compile(r"mask_(\d{1,6})\.npy")  # one mask
WHOLE_FILE = re.compile(r".+_masks\.npy")  # all masks of an image
MOST_MASKS = 1 << 14  # masks of an image; SAM gives some hundred


@dataclass(frozen=True)
class MaskFolder:
    """The mask files of one image.

    Attributes:
        name: the picture's path, as the release writes it.
        files: the files, in the order they are read in.
        problem: why the folder cannot be taken; None if nothing is wrong.
    """

    name: str
    files: tuple[Path, ...]
    problem: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.lstat().st_size for file in self.files)


def mask_folders(root: Path, order: Order = "number") -> Iterator[MaskFolder]:
    """The images that have masks, partition by partition, each in the order of names.

    Args:
        root: folder that holds `partition_0`, `partition_1`, ..., or one of them. Links to folders
            are not followed.
        order: order of an image's masks: by their numbers, or by file name as text.

    Raises:
        ValueError: If there is no such folder, or no masks in it.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    partitions = sorted(
        (path for path in root.glob("partition_*") if path.is_dir() and not path.is_symlink()),
        key=lambda path: (len(path.name), path.name),
    )
    partition_of: dict[str, Path] = {}
    for partition in partitions or [root]:
        for folder in _folders_below(partition, order):
            first = partition_of.setdefault(folder.name, partition)
            if first == partition:
                yield folder
            else:
                problem = f"is in {first.name} too, which is taken"
                yield MaskFolder(folder.name, folder.files, problem)
    if not partition_of:
        raise ValueError(
            f"{root}: no mask_<number>.npy and no <name>_masks.npy below it; name the folder that "
            "holds partition_0"
        )


def _folders_below(partition: Path, order: Order) -> Iterator[MaskFolder]:
    for folder, subfolders, files in os.walk(partition):
        subfolders.sort()
        mask_files = sorted(
            name for name in files if NUMBERED_FILE.fullmatch(name) or WHOLE_FILE.fullmatch(name)
        )
        if mask_files and Path(folder) != partition:
            name = Path(folder).relative_to(partition).as_posix()
            yield _mask_folder(Path(folder), name, mask_files, order)


def _mask_folder(folder: Path, name: str, files: Sequence[str], order: Order) -> MaskFolder:
    """The folder of one image, whose mask files are `files` in the order of their names."""
    by_number = {int(match[1]): file for file in files if (match := NUMBERED_FILE.fullmatch(file))}
    whole_files = [file for file in files if not NUMBERED_FILE.fullmatch(file)]
    ordered: Sequence[str] = files
    if whole_files:
        ordered = whole_files
    elif order == "number":
        ordered = [by_number[number] for number in sorted(by_number)]
    problem = None
    if len(whole_files) + bool(by_number) > 1:
        problem = f"holds its masks more than once ({', '.join(files[:3])})"
    elif by_number and len(by_number) != max(by_number) + 1:
        missing = next(number for number in range(max(by_number)) if number not in by_number)
        problem = f"mask_{missing}.npy is missing, and there is a mask_{max(by_number)}.npy"
    elif len(by_number) > MOST_MASKS:
        problem = f"{len(by_number)} masks are more than {MOST_MASKS}"
    return MaskFolder(name, tuple(folder / file for file in ordered), problem)

"""The pictures below a folder, and what lies there beside them: counted, never passed over.

Linked folders are read once, under the name of the first link, and a link that leads back to where
the walk came from is not followed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regiontok.core import video
from regiontok.core.formats import OTHER_SUFFIXES, is_image_name
from regiontok.system.drawn import is_drawn

MAC_FOLDER = "__MACOSX"


@dataclass
class LeftOut:
    """What a walk met and did not read.

    Attributes:
        outputs: pictures that this project wrote.
        mac: files that a Mac leaves beside others: `._a.jpg`, `.DS_Store`, `__MACOSX`.
        others: pictures of other kinds, and videos, by suffix.
    """

    outputs: int = 0
    mac: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def count(self, name: str) -> None:
        """Count a file that is no picture that is read, by its name."""
        suffix = Path(name).suffix.lower()
        if name.startswith("._") or name == ".DS_Store":
            self.mac += 1
        elif not name.startswith(".") and suffix in OTHER_SUFFIXES | video.SUFFIXES:
            self.others[suffix] += 1

    def notes(self, root: Path | str) -> Iterator[str]:
        """A line for each kind of file that was left out, but for outputs, which are none of it.

        Args:
            root: the folder or tar that was walked.

        >>> left_out = LeftOut()
        >>> for name in ("a.svg", "._b.jpg", "c.SVG", "d.txt"):
        ...     left_out.count(name)
        >>> for note in left_out.notes("photos"):
        ...     print(note)
        photos: 2 files of kinds that are not read as pictures (.svg 2)
        photos: 1 file that a Mac left beside others is not read (._*, .DS_Store, __MACOSX)
        """
        if count := self.others.total():
            kinds = ", ".join(f"{suffix} {number}" for suffix, number in self.others.most_common())
            files = "file of a kind that is" if count == 1 else "files of kinds that are"
            yield f"{root}: {count} {files} not read as pictures ({kinds})"
        if self.mac:
            files = (
                "file that a Mac left beside others is"
                if self.mac == 1
                else ("files that a Mac left beside others are")
            )
            yield f"{root}: {self.mac} {files} not read (._*, .DS_Store, {MAC_FOLDER})"


def pictures_below(
    root: Path, left_out: LeftOut, refuse: Callable[[OSError], None]
) -> Iterator[Path]:
    """The pictures below a folder, folder by folder, sorted; none that this project wrote.

    Args:
        root: the folder.
        left_out: where what is not read is counted.
        refuse: is called with the error of a folder that cannot be read.
    """
    read = {os.path.realpath(root)}
    links = [root]
    while links:
        link = links.pop(0)
        for folder, subfolders, files in os.walk(link, onerror=refuse):
            read.add(os.path.realpath(folder))
            yield from _pictures_in(Path(folder), files, left_out)
            _count_mac_folder(Path(folder), subfolders, left_out)
            subfolders[:] = sorted(
                name for name in subfolders if not name.startswith(".") and name != MAC_FOLDER
            )
            links += [
                Path(folder, name) for name in subfolders if os.path.islink(Path(folder, name))
            ]
            if link != root:  # a folder below a link may have been read already
                subfolders[:] = [
                    name for name in subfolders if os.path.realpath(Path(folder, name)) not in read
                ]
        while links and _was_read(links[0], root, read):
            links.pop(0)


def tars_below(folder: Path) -> list[Path]:
    """The tars below a folder, sorted; hidden ones, and what this project wrote, are left out.

    The folder itself was named, and so its own tars are read whoever wrote them.
    """
    tars: list[Path] = []
    for place, subfolders, files in os.walk(folder):
        here = Path(place)
        if here != folder and is_run_folder(files):
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        tars += [
            here / name
            for name in files
            if name.endswith(".tar") and not name.startswith(".")
            if here == folder or not is_own_shard(name, files)
        ]
    return sorted(tars)


def is_output_folder(names: Sequence[str]) -> bool:
    """True for the file names of a folder that `tokenize` wrote for an image, also long ago."""
    endings = {".regions.json", ".safetensors"}
    written = {ending for ending in endings for name in names if name.endswith(ending)}
    return "report.json" in names and written == endings


def is_run_folder(names: Sequence[str]) -> bool:
    """True for the file names of a folder that `train` or `pretrain` wrote."""
    return {"provenance.json", "resolved.toml"} <= set(names)


def is_own_shard(name: str, names: Sequence[str]) -> bool:
    """True for a tar that `shards` made of images, by its name and the files beside it.

    Args:
        name: the tar's file name.
        names: the names of all files of its folder. Tars of others may have a side-car there, too.
    """
    numbered = re.fullmatch(r"images-\d{6}\.tar", name) is not None
    return numbered and f"{name.removesuffix('.tar')}.regions.json" in names


def _pictures_in(folder: Path, files: Sequence[str], left_out: LeftOut) -> Iterator[Path]:
    is_output = is_output_folder(files)
    for name in sorted(files):
        path = folder / name
        if not is_image_name(name):
            left_out.count(name)
        elif is_output or is_drawn(path):
            left_out.outputs += 1
        else:
            yield path


def _count_mac_folder(folder: Path, subfolders: Sequence[str], left_out: LeftOut) -> None:
    if MAC_FOLDER in subfolders:
        below = os.walk(folder / MAC_FOLDER)
        left_out.mac += sum(len(files) for _, _, files in below)


def _was_read(link: Path, root: Path, read: set[str]) -> bool:
    """True for a link to a folder that was read, or that the walk itself lies in."""
    target, start = os.path.realpath(link), os.path.realpath(root)
    return target in read or os.path.commonpath([target, start]) == target

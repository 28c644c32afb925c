"""What `regiontok shards` is given: image files, and tars that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regiontok.data.collect import Note, collect
from regiontok.data.walk import tars_below
from regiontok.shards.tar import open_index
from regiontok.system.logs import module_logger

_LOG = module_logger(__name__)


def files_and_tars(
    words: Sequence[str], out: Path, *, note: Note = _LOG.warning
) -> tuple[list[Path], list[Path]]:
    """Image files and tars behind the words of a command line, each once, in their order.

    A folder with tars below it gives those, any other folder its images. The output folder is left
    out of both.

    Args:
        words: files, folders and globs.
        out: the folder that is written.
        note: is told what lies in a folder and is not read, a line each.

    Raises:
        NoImages: If a word leads to no image.
    """
    tars: dict[Path, None] = {}
    others: list[str] = []
    for word in words:
        path = Path(word)
        folder_tars = tars_below(path) if path.is_dir() else []
        below = [tar for tar in folder_tars if not _is_in(tar, out)]
        if path.suffix.lower() == ".tar" and path.is_file():
            tars[path] = None
        elif below:
            tars |= dict.fromkeys(below)
        else:
            others.append(word)
    files = [image.path for image in collect(others, note=note)] if others else []
    return [path for path in files if not _is_in(path, out)], list(tars)


def _is_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def images_of_tars(tars: Sequence[Path], out: Path) -> int:
    """How many images tars hold.

    Their indexes are kept in the folder that is written, where the shards' builder looks for them,
    if it is there; nothing is written beside the tars.

    Raises:
        ShardError: If a tar cannot be read.
    """
    return sum(len(open_index(tar, out)) for tar in tars)

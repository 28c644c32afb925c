"""Files and folders that are there whole or not at all: write beside, then rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; when the block ends well it becomes `path`, otherwise
    nothing stays.

    The block may write a file there or make a folder. A folder takes the place of the one that
    stood there. What a killed process left is cleared away by the next that writes the same path;
    two processes at once must not.
    """
    part = path.with_name(f".{path.name}.part")
    _remove(part)
    try:
        yield part
        if part.is_dir() and path.exists():
            _remove(path)
        os.replace(part, path)
    finally:
        _remove(part)


@contextmanager
def replacing_shared(path: Path) -> Iterator[Path]:
    """`replacing` for several processes at once: each writes a file of its own and the last rename
    stays."""
    own = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with replacing(own) as part:
        yield part
    os.replace(own, path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

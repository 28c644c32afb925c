"""Files and folders that appear whole or not at all: they are written beside, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The block may write a file there or make a folder; a folder takes the place of the one that
    stood at `path`. If the block fails, nothing stays. What a killed process left behind is cleared
    away by the next one that writes the same path; two processes must not do so at once.
    """
    temporary = path.with_name(f".{path.name}.part")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            _remove(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def replacing_shared(path: Path) -> Iterator[Path]:
    """`replacing` for a file that several processes may write at once.

    Each process writes a file of its own; the one that is renamed last stays.
    """
    private_path = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with replacing(private_path) as temporary:
        yield temporary
    os.replace(private_path, path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

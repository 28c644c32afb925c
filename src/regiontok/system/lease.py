"""A lease on an output folder: one process writes there at a time.

The lease is a lock that the system takes back when its process ends, however it ends, so that no
stale lease blocks a folder.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from regiontok.system.errors import RegiontokError, RegiontokWarning

LEASE = ".lease"  # the file in the folder that is locked; it is removed with the lease

_open_leases: set[TextIO] = set()


class FolderInUse(RegiontokError, ValueError):
    """Another process writes into the folder; the message names the process and its machine."""


@contextmanager
def folder_lease(folder: Path, *, rank: int = 0) -> Iterator[None]:
    """Hold the lease on an output folder, which is made if it is not there.

    A folder that this made and nobody wrote into is removed again. Where the file system has no
    locks, a warning says so, and the caller goes on without a lease.

    Args:
        folder: the output folder.
        rank: the number of this process among those of one run; rank 0 holds the lease for all.

    Raises:
        FolderInUse: If another process, or another call in this one, holds it.
    """
    if rank:
        yield
        return
    is_new = not folder.exists()
    file = _locked_file(folder)
    if file is None:
        yield
        return
    _open_leases.add(file)
    try:
        file.truncate(0)
        file.write(_this_process())
        file.flush()
        yield
    finally:
        if not file.closed:  # a forked child has closed its copy, and holds no lease
            _open_leases.discard(file)
            # removed while it is locked: who opened it meanwhile sees that, and opens a new one
            with suppress(OSError):
                (folder / LEASE).unlink(missing_ok=True)
            file.close()
            if is_new:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()


def _locked_file(folder: Path) -> TextIO | None:
    """The folder's lease file, open and locked; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        _warn(folder, "this system has no such locks")
        return None
    path = folder / LEASE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:  # another process has just removed a folder that it had made
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another process"
            raise FolderInUse(
                f"{folder} is being written by {holder}: wait until that has ended, or choose "
                "another --out"
            ) from None
        except OSError as error:
            file.close()
            path.unlink(missing_ok=True)
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            _warn(folder, error.strerror or str(error))
            return None
        if _is_file_at(path, file):
            return file
        file.close()


def _is_file_at(path: Path, file: TextIO) -> bool:
    """True if the open file still stands at its path: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _this_process() -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} (since {now})"


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"{folder} cannot be locked ({reason}): see to it that no other process writes there, or "
        "choose an --out on a file system with locks",
        RegiontokWarning,
        stacklevel=4,
    )


def _close_inherited() -> None:
    """Close the leases in a forked child, which may live on when the holder has been killed."""
    for file in _open_leases:
        file.close()
    _open_leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)

"""What a failed write raises, in whatever library, as one `OSError` that names the file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from regiontok.system.errors import first_line

# torch.save on a full disk: "[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534"
_TORCH_WRITER = re.compile(r"inline_container\.cc|PytorchStreamWriter")


@contextmanager
def clear_write_errors(path: Path) -> Iterator[None]:
    """Raise one `OSError` for whatever error a block meets that writes a file or a folder.

    safetensors raises its own error on a full disk, `torch.save` a RuntimeError, and a plain write
    an OSError that names no file.

    Args:
        path: the file or folder that the block writes.

    Raises:
        OSError: If the block could not write; the message names the path and the reason.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _TORCH_WRITER.search(str(error)):
            raise
        raise OSError(f"{path} could not be written: {_reason(error, path)}") from error


def _reason(error: BaseException, path: Path) -> str:
    """Why a write failed, in words."""
    number = error.errno if isinstance(error, OSError) else None
    if match := re.search(r"os error (\d+)", str(error)):
        number = int(match[1])
    if number is None and isinstance(error, RuntimeError):  # torch does not say why
        number = errno.ENOSPC if _is_full(path) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "no space is left on the disk"
    return os.strerror(number) if number else first_line(error)


def _is_full(path: Path) -> bool:
    """True if the disk of a path has less than 1 MB left."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize < 2**20

"""A write that fails is one OSError that names the file and the reason, in whatever library."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from regiontok.system import writing
from regiontok.system.writing import clear_write_errors

FULL = "no space is left on the disk"
TORCH = "[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (SafetensorError("Error while serializing: I/O error: nothing (os error 28)"), FULL),
        (RuntimeError(TORCH), FULL),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (SafetensorError("Error while serializing: too large\nand more"), "too large$"),
        (OSError("the network is down"), "the network is down"),
    ],
)
def test_one_error_names_the_path_and_the_reason(tmp_path, monkeypatch, error, reason):
    monkeypatch.setattr(writing, "_is_full", lambda path: True)
    path = tmp_path / "x"
    message = rf"x could not be written: .*{reason}"
    with pytest.raises(OSError, match=message), clear_write_errors(path):
        raise error


def test_torch_is_taken_at_its_word_where_the_disk_has_room(tmp_path):
    with pytest.raises(OSError, match="inline_container"), clear_write_errors(tmp_path / "x"):
        raise RuntimeError(TORCH)


def test_other_errors_are_none_of_writing():
    with pytest.raises(RuntimeError, match="shapes"), clear_write_errors(Path("x")):
        raise RuntimeError("shapes do not fit")

"""Photos that masks are computed of."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samples.pictures import saved_scene


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of five scenes; two of them are the same bytes."""
    folder = tmp_path / "photos"
    for seed in range(4):
        saved_scene(folder / f"{seed}.png", seed)
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    return folder


@pytest.fixture
def write_tar() -> Callable[[Path, dict[str, bytes]], Path]:
    """The function that writes a tar of files, given as bytes by name."""

    def write(path: Path, files: dict[str, bytes]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return write

"""Photos that masks are computed of."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from regiontok.miniworld.scenes import make_scene


@pytest.fixture
def save_scene() -> Callable[..., Path]:
    """The function that writes a generated scene to a file."""

    def save(path: Path, seed: int, size: int = 64) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_scene(seed, size).pixels).save(path)
        return path

    return save


@pytest.fixture
def photos(tmp_path, save_scene) -> Path:
    """A folder of five scenes; two of them are the same bytes."""
    folder = tmp_path / "photos"
    for seed in range(4):
        save_scene(folder / f"{seed}.png", seed)
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

"""Photos that commands work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from samples.pictures import saved_scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three scenes, one of them in a sub-folder."""
    for seed, name in enumerate(["a.png", "b.jpg", "more/c.png"]):
        saved_scene(tmp_path / "photos" / name, seed, (80, 100))
    return tmp_path / "photos"


@pytest.fixture
def odd_names(photos: Path) -> list[str]:
    """Names of photos that a file system takes, and much else does not; they are in `photos`."""
    names = [
        "caf\udce9.png",  # bytes that are no UTF-8
        "cat [bold] [draft].png",
        "two\nlines\x1b[2J\x9b31m.png",
        "画" * 83 + ".png",  # 253 bytes
        "q'uo\"te$(x)`y`.png",
    ]
    for name in names:
        (photos / name).write_bytes((photos / "a.png").read_bytes())
    return names

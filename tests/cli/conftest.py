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

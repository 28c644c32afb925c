"""A folder run that is killed and resumed leaves what an undisturbed run leaves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from regiontok.miniworld.scenes import make_scene

IMAGES = 24


def command(photos: Path, out: Path) -> list[str]:
    """The run as a user starts it."""
    words = [
        "tokenize",
        str(photos),
        "--encoder",
        "filters",
        "--regions",
        "merge(k=9) | sort('random')",
        "--rle",
        "--resume",
    ]
    return [sys.executable, "-m", "regiontok.cli.app", *words, "--batch", "2", "--out", str(out)]


def contents(out: Path) -> dict[str, bytes]:
    """All files but the reports, whose times differ."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "report.json"
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(IMAGES):
        Image.fromarray(make_scene(seed, 128).pixels).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(photos, out), check=True, capture_output=True)
    files = contents(out)
    assert len(files) == 3 * IMAGES + 1  # the index
    return files


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name
)
def test_kills_and_resumes(photos, undisturbed, tmp_path, how):
    """Stopped at a random moment while it writes.

    At every stop each folder that is there is whole.
    """
    draw = random.Random(how.value)
    for _ in range(5):
        before = len(list(tmp_path.glob("*/report.json")))
        process = subprocess.Popen(
            command(photos, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and len(list(tmp_path.glob("*/report.json"))) == before:
            time.sleep(0.02)
        time.sleep(draw.random() * 0.3)
        process.send_signal(how)
        _, error_output = process.communicate(timeout=60)
        if how == signal.SIGINT and process.returncode == 130:
            assert "go on with --resume" in error_output
            assert not list(tmp_path.glob(".*.part"))  # an interrupt clears it away
        for folder in (path for path in tmp_path.iterdir() if not path.name.startswith(".")):
            report = json.loads((folder / "report.json").read_text())
            assert {path.name for path in folder.iterdir()} > {"report.json", "regions.webp"}
            assert report["settings"][0]["regions"] == 9
    finished = subprocess.run(command(photos, tmp_path), check=True, capture_output=True, text=True)
    assert json.loads(finished.stdout.splitlines()[-1])["resumed"] >= 1
    assert contents(tmp_path) == undisturbed

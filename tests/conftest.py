"""Fixtures of the whole suite: where real data lies, and a photo that every machine has."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# One thread a process: two test processes with two threads each wait for one another at every small
# operation (40 times slower here).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from skimage.data import chelsea

from regiontok.core.picture import Picture

# A suite that a script starts in the background has inherited that Ctrl-C is ignored; the commands
# it tests would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cat() -> Picture:
    """scikit-image's photo of a cat."""
    return Picture.of(chelsea())


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photos and recorded results.

    It is `$REGIONTOK_DATA`, or `../shared/data` beside the checkout.
    """
    root = Path(
        os.environ.get("REGIONTOK_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    if not root.is_dir():
        pytest.skip(
            f"no real data at {root}; set REGIONTOK_DATA to a folder laid out as "
            "docs/about/data.md says"
        )
    return root

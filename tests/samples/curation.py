"""Small curations: photos of random colours, tars of them, and what a run leaves on the disk."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.plan import FilterPlan
from regiontok.curate.run import run_pieces
from regiontok.curate.tars import Piece, open_curation
from regiontok.shards.tar import write_tar

PLAN = FilterPlan(shorter_edge=40)


def photo(seed: int, size=(48, 64), form: str = "JPEG", **options) -> bytes:
    """Smooth random colours: a picture that scaling and compression leave as it is."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize(size[::-1], Image.Resampling.BICUBIC).save(stream, form, **options)
    return stream.getvalue()


def many_tars(folder: Path) -> Path:
    """Five tars of twelve photos; in each of them some are small, corrupt, or come again."""
    folder.mkdir()
    for number, name in enumerate("abcde"):
        files = [(f"{i:02}.jpg", photo(20 * number + i, (90, 120))) for i in range(9)]
        files += [("x.jpg", photo(1, (30, 40))), ("y.jpg", photo(2)[:200]), ("z.jpg", photo(3))]
        write_tar(folder / f"{name}.tar", files)
    return folder


def three_tars(folder: Path) -> Path:
    """Three tars: good photos, one that is small, one corrupt, two that come again elsewhere."""
    folder.mkdir()
    first = [photo(seed) for seed in range(5)]
    second = [photo(9, (30, 64)), photo(10)[:300], photo(1, quality=40), photo(11, form="PNG")]
    third = [photo(12, (3000, 40)), photo(3, (96, 128)), photo(11, form="PNG")]
    for name, files in (("a", first), ("b", second), ("c", third)):
        write_tar(folder / f"{name}.tar", [(f"{i:03}.jpg", data) for i, data in enumerate(files)])
    return folder


def filtered(tars, out, plan=PLAN, **options):
    curation = open_curation(out, [str(tars)], piece=2)
    stage = filter_stage(curation, plan)
    outcomes = list(run_pieces(stage, curation, FilterPiece(curation, plan), **options))
    return curation, stage, outcomes


def contents(folder: Path) -> dict[str, object]:
    """All files by name; times are left out."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json":
            found[path.name] = {
                key: value
                for key, value in json.loads(path.read_text()).items()
                if key != "seconds"
            }
        elif path.is_file():
            found[path.name] = path.read_bytes()
    return found


class KilledOnce(FilterPiece):
    """Work whose process is killed at a random moment of some pieces, the first time only.

    The pieces are 1 and 3 of the tars "b" and "d"; of "b" the first one always kills.
    """

    def __call__(self, piece: Piece) -> None:
        marker = self.curation.out.with_name(f"{piece.tar.name}-{piece.number}.tried")
        always = (piece.tar.name, piece.number) == ("b", 0)
        once = piece.tar.name in "bd" and piece.number in (1, 3)
        if always or (once and not marker.exists()):
            marker.touch()
            delay = random.Random(piece.name).uniform(0, 0.02)
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if piece.number != 3:  # before anything is written, or at any time
                time.sleep(60)
        super().__call__(piece)

"""A few generated scenes in COCO's form."""

from __future__ import annotations

from pathlib import Path

from regiontok.jobs.miniworld.export import Export, export
from regiontok.miniworld.world import World


def coco_world(folder: Path, count: int, *, split: str = "train", size: int = 128) -> Path:
    """The first scenes of a split as a data set in COCO's form; returns its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    export(Export(World(split, 0, size), "coco", count), folder)
    return folder

"""The world as pretraining shards: tars of pictures, and a side-car of regions for each."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.jobs.miniworld.writer import Shown, Writer
from regiontok.jobs.shards.classes import FILE
from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.miniworld.world import World, WorldPicture
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.manifest import write_manifest
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar
from regiontok.system.strict_json import json_bytes

PER_SHARD = 1000  # pictures of a tar
CLASSES = tuple(f"{colour} {shape}" for colour, shape in product(COLOURS, SHAPES))
NO_CLASS = -1


class Shards(Writer):
    """Tars with side-cars; an object's class is its colour and shape, a sign is a text region."""

    kinds = ()

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._pending: list[tuple[str, bytes, ImageRegions]] = []
        self._count = 0
        (folder / FILE).write_bytes(json_bytes(list(CLASSES)))

    def add(self, shown: Shown) -> None:
        """See `Writer.add`; a tar is written when it is full."""
        with io.BytesIO() as file:
            Image.fromarray(shown.picture.pixels).save(file, "png", compress_level=1)
            row = regions_of(shown.picture, len(self._pending))
            self._pending.append((f"{shown.picture.name}.png", file.getvalue(), row))
        if len(self._pending) == PER_SHARD:
            self._write_shard()

    def finish(self) -> None:
        """Write the last tar, and the manifest of all."""
        if self._pending:
            self._write_shard()
        write_manifest(self.folder)

    def _write_shard(self) -> None:
        tar = self.folder / f"{self._count:05}.tar"
        write_tar(tar, [(name, data) for name, data, _ in self._pending])
        config = {"world": str(self.world)}
        rows = [row for _, _, row in self._pending]
        write_sidecar(tar, rows, config=config, classes=len(CLASSES))
        self._pending, self._count = [], self._count + 1


def regions_of(picture: WorldPicture, index: int) -> ImageRegions:
    """A picture's row in a side-car.

    Args:
        picture: the picture.
        index: its number in its tar.
    """
    coded = PixelMasks.from_dense(picture.masks)
    objects, texts = picture.objects, picture.texts
    labels = [CLASSES.index(f"{item.colour} {item.shape}") for item in objects]
    return ImageRegions(
        index=index,
        key=picture.name,
        size=(picture.labels.shape[0], picture.labels.shape[1]),
        boxes=np.array([item.box for item in objects] + [plate.box for plate in texts], np.float32),
        kinds=np.array([0] * len(objects) + [1] * len(texts), np.int8),
        labels=np.array(labels + [NO_CLASS] * len(texts), np.int64),
        masks=[*coded.counts[: len(objects)], *[b""] * len(texts)],
        texts=[""] * len(objects) + [plate.text for plate in texts],
    )

"""The world as pretraining shards: tars of pictures, and a side-car of regions for each."""

from __future__ import annotations

from pathlib import Path

from regiontok.jobs.miniworld.writer import Shown, Writer
from regiontok.jobs.shards.classes import FILE
from regiontok.miniworld.world import World
from regiontok.pretrain.world import PER_SHARD, class_names, png_of, regions_of, true_labels
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.manifest import write_manifest
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar
from regiontok.system.strict_json import json_bytes

LABELS = "colour+shape"
CLASSES = class_names(LABELS)


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
        picture = shown.picture
        row = regions_of(picture, len(self._pending), true_labels(picture, LABELS))
        self._pending.append((f"{picture.name}.png", png_of(picture), row))
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

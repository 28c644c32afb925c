"""Pretraining shards as labelled regions: object regions with a class, images out of their tars.

After: nothing published; the layout is this project's.
Differs: nothing known.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.probe.regions.labelled import (
    LabelledImage,
    LabelledSet,
    Support,
    box_masks,
    usable,
)
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.sidecar import GROUP, RowGroup, read_row_group
from regiontok.shards.sources import Shard, ShardSource, find_shards
from regiontok.shards.tar import open_index, read_images


class ShardSet(LabelledSet):
    """The images of a folder of shards.

    Args:
        folder: the folder of the tars and their side-cars.
        support: "masks", by which a region without a mask is its box; or "boxes".

    Raises:
        ShardError: If there is no shard, or a damaged one.
    """

    def __init__(self, folder: Path, support: Support = "masks") -> None:
        self.folder, self.support = folder, support
        self.shards = find_shards(ShardSource(folder)).shards
        self._places = [(shard, row) for shard in self.shards for row in range(shard.images)]
        names = folder / "classes.json"
        self._names: list[str] = json.loads(names.read_bytes()) if names.is_file() else []
        self._group: tuple[Shard, int, RowGroup] | None = None

    @property
    def identity(self) -> str:
        """See `LabelledSet`."""
        digest = hashlib.sha256(json.dumps(self._names).encode())
        for shard in self.shards:
            for path in (shard.sidecar, shard.tar):
                status = Path(str(path)).stat()
                digest.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}".encode())
        return f"shards {digest.hexdigest()} {self.support}"

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """See `LabelledSet`."""
        shard, row = self._places[index]
        return f"{shard.name}, image {row}"

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """See `LabelledSet`."""
        shard, number = self._places[index]
        row = self._row(shard, number)
        place = row.place
        if place is None:
            data = open_index(shard.tar, shard.source.folder).read(row.index)
        else:
            (data,) = read_images(shard.tar, [place])
        picture = Picture.of(data, name=self.name(index))
        boxes = box_masks(row.boxes, row.size)
        codes = [
            mask if mask and self.support == "masks" else box
            for mask, box in zip(row.masks, boxes.counts, strict=True)
        ]
        labels = [
            None if kind else self._class(int(label))
            for kind, label in zip(row.kinds, row.labels, strict=True)
        ]
        return usable(picture, PixelMasks(row.size, tuple(codes)), labels, "masks", left_out)

    def _class(self, label: int) -> str | None:
        if label < 0:
            return None
        return self._names[label] if label < len(self._names) else f"class {label}"

    def _row(self, shard: Shard, number: int) -> ImageRegions:
        """The regions of an image; the row group that it is in is kept."""
        group, row = divmod(number, GROUP)
        if self._group is None or self._group[:2] != (shard, group):
            self._group = shard, group, read_row_group(shard.sidecar, group)
        return self._group[2][row]
